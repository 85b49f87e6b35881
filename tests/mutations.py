"""Turn off one safeguard at a time and see that a test fails: `python tests/mutations.py [WORD]`.

Works on a copy of the tree. A text to replace that is not there exactly once is an error: then the source has changed,
and the mutant has to follow it. Exits 1 when a mutant survives.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORE = "layers/core/evergreen"
COPIED = ("layers", "infra", "functions", "tests", "docs", "pyproject.toml", "template.yaml", "README.md")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


class SourceChangedError(Exception):
    """The text that a mutant replaces is not in the source exactly once."""


@dataclass(frozen=True)
class Change:
    """One replacement in one file."""

    file: str
    old: str
    new: str

    def make(self, tree):
        """Replace the text, and answer what the file was."""
        path = tree / CORE / self.file
        before = path.read_text()
        if before.count(self.old) != 1:
            raise SourceChangedError(
                f"{CORE}/{self.file} has {before.count(self.old)} times, not once: {self.old!r}; "
                "let the mutant in tests/mutations.py follow the source"
            )
        path.write_text(before.replace(self.old, self.new))
        return path, before


@dataclass(frozen=True)
class Mutant:
    """A safeguard that is turned off, and the tests that are to notice it."""

    safeguard: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]

    @contextmanager
    def made(self, tree):
        """While the block lasts, the safeguard is off in the tree."""
        before = []
        try:
            before.extend(change.make(tree) for change in self.changes)
            yield
        finally:
            for path, text in reversed(before):
                path.write_text(text)


EPOCH = Change("aws/ledger.py", '"epoch = :read"', '"epoch = :read OR attribute_exists(sk)"')
NEW_EVENT = Change(
    "aws/ledger.py",
    '"Item": item, "ConditionExpression": "attribute_not_exists(sk)"}}',
    '"Item": item}}',
)
LEDGER, LIFE = ("tests/contract/test_ledger.py",), ("tests/unit/test_lifecycle.py",)
AT_ONCE = "tests/state_machines/test_at_once.py"
EIGHT = (f"{AT_ONCE}::test_the_same_events_from_eight_threads_at_once_happen_once",)
TWO = (f"{AT_ONCE}::test_of_two_candidates_promoted_at_once_one_wins_and_the_other_is_compared_again",)

TAMPERING = ("tests/contract/test_tampering.py",)
LOST = ("tests/state_machines/test_any_order.py::test_a_life_of_which_the_bus_tells_nothing_is_led_by_reconcile",)

MOVED = "tests/handlers/test_moved_endpoints.py"
ALARMS = "tests/handlers/test_alarms.py"
MOVE = (
    "        attempt = self._attempts.read(model)\n        found = self._describe()\n"
    "        if production is None:\n            return found\n"
)

MUTANTS = (
    Mutant(
        "an endpoint's container loads the recorded model alone",
        (Change("serving/inference.py", "    if actual != expected:\n", "    if not actual:\n"),),
        ("tests/unit/test_serving.py",),
    ),
    Mutant(
        "an endpoint's container loads no model where none is recorded",
        (Change("serving/inference.py", "    if not expected:\n", "    if expected is False:\n"),),
        ("tests/unit/test_serving.py",),
    ),
    Mutant(
        "an endpoint is made of recorded bytes",
        (Change("serving/source.py", "    if actual != sha256:\n", "    if not actual:\n"),),
        ("tests/unit/test_serving.py",),
    ),
    Mutant("a decision is recorded on condition of the epoch", (EPOCH,), LEDGER),
    Mutant("an event of the history is never written over", (NEW_EVENT,), LEDGER),
    Mutant("both of these, when two candidates are promoted at once", (EPOCH, NEW_EVENT), TWO),
    Mutant(
        "a model is made known once",
        (
            Change(
                "aws/ledger.py",
                'put["ConditionExpression"] = "attribute_not_exists(sk)"',
                'put["ConditionExpression"] = "attribute_not_exists(sk) OR attribute_exists(sk)"',
            ),
            NEW_EVENT,
        ),
        LEDGER,
    ),
    Mutant(
        "a note is written once",
        (Change("aws/ledger.py", ', ConditionExpression="attribute_not_exists(sk)")', ")"),),
        LEDGER,
    ),
    Mutant(
        "a training job is named after its decision and attempt",
        (
            Change(
                "usecases/launch_training.py",
                'return f"{model}-{run.decision_id}-{run.attempt}"',
                'return f"{model}-{run.decision_id}-{run.attempt}-{__import__("secrets").token_hex(2)}"',
            ),
        ),
        EIGHT,
    ),
    Mutant(
        "a rollback leads to a version that is known to be good",
        (
            Change(
                "domain/lifecycle.py",
                "return version.status is VersionStatus.GOOD and ",
                "return ",
            ),
        ),
        LIFE,
    ),
    Mutant(
        "a rollback leads to a version that reads the same features",
        (
            Change(
                "domain/lifecycle.py",
                "return version.status is VersionStatus.GOOD and self.reads_what_requests_bring(version)",
                "return version.status is VersionStatus.GOOD",
            ),
        ),
        LIFE,
    ),
    Mutant(
        "a promotion is judged against the production of that moment",
        (
            Change(
                "domain/lifecycle.py",
                "            if event.instead_of != state.production:\n",
                "            if not event.instead_of:\n                event = event\n            if False:\n",
            ),
        ),
        LIFE,
    ),
    Mutant(
        "a version that was rolled back is never promoted again",
        (
            Change(
                "domain/lifecycle.py",
                "            if state.version(event.version).status is VersionStatus.ROLLED_BACK:\n",
                "            if False:\n",
            ),
        ),
        LIFE,
    ),
    Mutant(
        "what a person was shown is what they decide about",
        (Change("usecases/operate.py", "        if shown != found:\n", "        if False:\n"),),
        TWO,
    ),
    Mutant(
        "an older decision never repoints the alias",
        (
            Change(
                "aws/aliases.py",
                '"attribute_not_exists(epoch) OR epoch <= :epoch"',
                '"attribute_not_exists(epoch) OR epoch <= :epoch OR epoch > :epoch"',
            ),
        ),
        ("tests/contract/test_aliases.py",),
    ),
    Mutant(
        "a model is loaded only with the hash that was recorded",
        (Change("scoring.py", "        if actual != expected_sha256:\n", "        if False:\n"),),
        ("tests/handlers/test_predict.py",),
    ),
    Mutant(
        "a reference is read only with the hash that its key names",
        (
            Change(
                "usecases/references.py",
                '    if key.rsplit(".", 2)[-2:] != [actual, "json"]:\n',
                "    if False:\n",
            ),
        ),
        TAMPERING,
    ),
    Mutant(
        "what a training job reads does not change once it was started",
        (
            Change(
                "usecases/launch_training.py",
                "        return _unchanged(Snapshot.read(ports.artifacts.get(key)), key, model)\n",
                "        return snapshot\n",
            ),
        ),
        ("tests/handlers/test_launch_training.py",),
    ),
    Mutant(
        "a training that the service refuses is not asked for again",
        (Change("aws/trainer.py", 'case "ValidationException":', 'case "NeverSaid":'),),
        ("tests/handlers/test_launch_training.py",),
    ),
    Mutant(
        "own source is run from where its bytes can not change",
        (Change("usecases/launch_training.py", "    ports.artifacts.put(source_key(source), source)\n", ""),),
        ("tests/handlers/test_launch_training.py",),
    ),
    Mutant(
        "a checkpoint is of the same rows, job and code",
        (Change("training/checkpoint.py", "        if found.key != key:\n", "        if False:\n"),),
        ("tests/unit/test_training_program.py",),
    ),
    Mutant(
        "a checkpoint that was damaged is not used",
        (
            Change(
                "training/checkpoint.py",
                '    if told["sha256"] != hashlib.sha256(content).hexdigest():\n',
                "    if False:\n",
            ),
        ),
        ("tests/unit/test_training_program.py",),
    ),
    Mutant(
        "a training job scores nothing beside a production that was changed",
        (Change("training/train.py", "    if found != job.production_sha256:\n", "    if False:\n"),),
        TAMPERING,
    ),
    Mutant(
        "an archive is read to its checksum when it is registered",
        (Change("training/artifact.py", "            _read_to_the_end(plain)\n", "            pass\n"),),
        ("tests/unit/test_artifact.py",),
    ),
    Mutant(
        "an artifact holds a file once",
        (Change("training/artifact.py", "                    if name in files:\n", "                    if False:\n"),),
        ("tests/unit/test_artifact.py",),
    ),
    Mutant(
        "the gate takes no artifact of another job",
        (Change("usecases/finish_training.py", "    if end.artifact != expected:\n", "    if False:\n"),),
        ("tests/handlers/test_finish_training.py",),
    ),
    Mutant(
        "a candidate that was not scored beside production is rejected",
        (
            Change(
                "domain/gate.py",
                '    passed = excused or spec.gate.uncompared == "pass"\n',
                "    passed = True\n",
            ),
        ),
        ("tests/unit/test_gate.py",),
    ),
    Mutant(
        "what a canary leaves is answered by a version that is known to be good",
        (
            Change(
                "domain/lifecycle.py",
                "beside = there if self.can_return_to(there) else self.last_known_good()",
                "beside = there",
            ),
        ),
        LIFE,
    ),
    Mutant(
        "a version that failed on requests is not promoted for the others",
        (
            Change(
                "domain/shadow.py",
                "    if verdict == Verdict.PROMOTE and answered_share is not None and ",
                "    if False and ",
            ),
        ),
        ("tests/unit/test_shadow.py",),
    ),
    Mutant(
        "a copy on the function's own disk is used only with its hash",
        (
            Change(
                "aws/kept_artifacts.py",
                "            if hashlib.sha256(content).hexdigest() == sha256:\n                os.utime",
                "            if True:\n                os.utime",
            ),
        ),
        ("tests/contract/test_kept_artifacts.py",),
    ),
    Mutant(
        "a repoint whose event was lost is carried out all the same",
        (
            Change(
                "usecases/reconcile.py", "    if state.repoint is None or is_under_way(", "    if True or is_under_way("
            ),
        ),
        LOST,
    ),
    Mutant(
        "a row is learned once",
        (
            Change(
                "aws/online.py",
                '                    "ConditionExpression": "attribute_not_exists(sk)",\n',
                "",
            ),
            Change(
                "usecases/learn_online.py",
                "        fresh = [row for row in rows if row.name not in known]\n",
                "        fresh = list(rows)\n",
            ),
        ),
        ("tests/handlers/test_learn_online.py",),
    ),
    Mutant(
        "an online state that was changed is not learned from",
        (Change("training/online.py", "    if actual != expected:\n", "    if False:\n"),),
        ("tests/unit/test_online.py", "tests/handlers/test_learn_online.py"),
    ),
    Mutant(
        "a checkpoint is judged on requests that it has not learned",
        (
            Change(
                "domain/online.py",
                "    return max(checkpoint.frozen_at, learned, production_since)\n",
                "    return production_since\n",
            ),
        ),
        ("tests/unit/test_online_guard.py",),
    ),
    Mutant(
        "a checkpoint is judged on three cycles at the least",
        (
            Change(
                "domain/online.py",
                "    return judge(outcomes, rules, since=since, now=now, whole=Whole(rules.cycle, FEWEST_CYCLES))\n",
                "    return judge(outcomes, rules, since=since, now=now, whole=Whole(rules.cycle, 1))\n",
            ),
        ),
        ("tests/unit/test_online_guard.py",),
    ),
    Mutant(
        "an artifact that was changed is not put into MLflow",
        (
            Change(
                "usecases/update_registry.py",
                "            if hashlib.sha256(body).hexdigest() != version.sha256:\n",
                "            if False:\n",
            ),
        ),
        ("tests/handlers/test_registry.py",),
    ),
    Mutant(
        "a job has one run",
        (Change("training/tracking.py", "    return found[0] if found else None\n", "    return None\n"),),
        ("tests/unit/test_training_tracking.py",),
    ),
    Mutant(
        "what was learned is stored over what was read",
        (
            Change(
                "aws/online.py",
                'put["ConditionExpression"] = "version = :read"',
                'put["ConditionExpression"] = "version = :read OR attribute_exists(sk)"',
            ),
        ),
        ("tests/contract/test_online_states.py",),
    ),
    Mutant(
        "an endpoint is looked at after what was asked of it",
        (
            Change(
                "aws/endpoints.py",
                MOVE,
                "        found = self._describe()\n        attempt = self._attempts.read(model)\n"
                "        if production is None:\n            return found\n",
            ),
        ),
        (f"{MOVED}::test_whoever_looked_before_another_asked_does_not_take_it_for_undone",),
    ),
    Mutant(
        "an endpoint's attempt is noted over the one that was read",
        (
            Change(
                "aws/attempts.py",
                '"attribute_not_exists(revision) OR revision = :read"',
                '"attribute_not_exists(revision) OR revision = :read OR attribute_exists(revision)"',
            ),
        ),
        ("tests/contract/test_attempts.py",),
    ),
    Mutant(
        "an endpoint that SageMaker took back in silence is found out",
        (Change("aws/endpoints.py", "        elif attempt.accepted:\n", "        elif False:\n"),),
        (f"{MOVED}::test_what_sagemaker_undoes_in_silence_is_told_once_and_is_out_for_good",),
    ),
    Mutant(
        "an endpoint that changes is asked for nothing else",
        (
            Change(
                "aws/endpoints.py",
                "        if found is not None and found.is_changing:\n            if attempt",
                "        if found is not None and False:\n            if attempt",
            ),
        ),
        (f"{MOVED}::test_nothing_is_asked_of_an_endpoint_that_changes",),
    ),
    Mutant(
        "an endpoint leaves the shadow behind with the version that it was beside",
        (
            Change(
                "aws/endpoints.py",
                "                self._wanted.clear(record.model, _WANTED + SHADOW, record.epoch)\n",
                "                pass\n",
            ),
        ),
        (f"{MOVED}::test_a_version_that_takes_over_does_so_without_the_shadow_beside_the_other",),
    ),
    Mutant(
        "an endpoint's promotion is guarded by alarms",
        (Change("aws/endpoint_requests.py", "    if rules.alarms:\n", "    if False:\n"),),
        (f"{MOVED}::test_a_promotion_is_guarded_and_a_rollback_is_not",),
    ),
    Mutant(
        "an endpoint's rollback is not undone by the alarms that led to it",
        (
            Change(
                "usecases/repoint_alias.py",
                "    if state.repoint is not None and state.repoint.cause is None:\n",
                "    if True:\n",
            ),
        ),
        (f"{MOVED}::test_a_promotion_is_guarded_and_a_rollback_is_not",),
    ),
    Mutant(
        "an endpoint's model is the artifact that its name says",
        (
            Change(
                "aws/endpoints.py",
                '.get("ModelDataUrl")) != uri:\n',
                '.get("ModelDataUrl")) is None and uri is None:\n',
            ),
        ),
        (f"{MOVED}::test_a_model_of_the_right_name_that_loads_something_else_is_never_used",),
    ),
    Mutant(
        "an endpoint of somebody else's is never deleted",
        (
            Change(
                "aws/endpoints.py", "        if not found.config.startswith(self._plan.head):\n", "        if False:\n"
            ),
        ),
        (f"{MOVED}::test_an_endpoint_of_somebody_elses_that_never_came_up_is_left_to_them",),
    ),
    Mutant(
        "an endpoint's rollback that was undone is told once an attempt, and tried again",
        (
            Change(
                "usecases/repoint_alias.py",
                "        if times and (error.asked or now - max(times) < PATIENCE):\n",
                "        if times and now - max(times) < PATIENCE:\n",
            ),
        ),
        (f"{MOVED}::test_a_rollback_that_does_not_come_about_is_told_and_asked_for_each_quarter_of_an_hour",),
    ),
    Mutant(
        "an endpoint's rollback to a damaged version is told as long as it is so",
        (
            Change(
                "usecases/repoint_alias.py",
                "        if times and (error.asked or now - max(times) < PATIENCE):\n",
                "        if times:\n",
            ),
        ),
        (f"{MOVED}::test_a_rollback_to_a_damaged_version_is_told_until_it_is_whole_again",),
    ),
    Mutant(
        "an endpoint's repoint that failed is not called repaired",
        (
            Change(
                "usecases/repairs.py",
                "        if repair.what == REPOINT and any(",
                "        if False and any(",
            ),
        ),
        (f"{MOVED}::test_a_rollback_to_a_damaged_version_is_told_until_it_is_whole_again",),
    ),
    Mutant(
        "an endpoint is asked again for what was undone",
        (
            Change(
                "usecases/reconcile.py",
                "        aliases.try_again(model)\n        move()\n",
                "        raise\n",
            ),
        ),
        (f"{MOVED}::test_an_endpoint_that_does_not_go_back_to_what_it_has_to_be_is_asked_again",),
    ),
    Mutant(
        "an endpoint's version is judged by what it answered alone",
        (
            Change(
                "usecases/watch_deployment.py",
                "    return _Alone(ports.endpoint_traffic(spec), ports.ledger.history(spec.model))",
                "    return ports.endpoint_traffic(spec)",
            ),
        ),
        (
            f"{ALARMS}::test_what_a_canary_answered_that_sagemaker_took_back_is_not_held_against_the_version_that_stayed",
        ),
    ),
    Mutant(
        "captures that somebody else's configuration made are no version's",
        (
            Change(
                "usecases/profile_capture.py",
                '(file.variant == "shadow" or _may_be_another(state, file.hour))',
                "False",
            ),
        ),
        ("tests/handlers/test_captures_of_nobody.py",),
    ),
    Mutant(
        "metrics that could not be read are no silence",
        (Change("aws/traffic.py", 'if result["StatusCode"] in _UNREAD:', "if False:"),),
        ("tests/contract/test_endpoint_traffic.py::test_metrics_that_could_not_be_read_are_no_silence",),
    ),
)


def copy_tree(to):
    """Copy what tests need."""
    to.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, to / name)


@contextmanager
def one_of(trees):
    """A tree that nobody else works on meanwhile."""
    tree = trees.get()
    try:
        yield tree
    finally:
        trees.put(tree)


def failing(tree, tests):
    """The first of the tests that fails in the tree, or None."""
    paths = os.pathsep.join(str(tree / part) for part in ("layers/core", "infra"))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--show-capture=no", "--tb=line", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, *tests], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return None
    found = _FAILED.search(ran.stdout)
    if ran.returncode != 1 or found is None:
        raise RuntimeError(f"the tests did not run: {(ran.stdout + ran.stderr)[-2_000:]}")
    return found[1]


def main(word=""):
    """Try the mutants whose safeguard has the word; answers how many survived."""
    chosen = [mutant for mutant in MUTANTS if word in mutant.safeguard]
    if not chosen:
        raise SystemExit(f"no safeguard has {word!r} in its name: {', '.join(m.safeguard for m in MUTANTS)}")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        trees = queue.SimpleQueue()
        for number in range(os.cpu_count() or 1):
            copy_tree(Path(folder) / str(number))
            trees.put(Path(folder) / str(number))
        with one_of(trees) as tree:
            for mutant in chosen:  # all of them first: a source that has changed is said at once
                with mutant.made(tree):
                    pass
            if (broken := failing(tree, sorted({test for mutant in chosen for test in mutant.tests}))) is not None:
                raise RuntimeError(f"{broken} fails without any mutant: repair it first")

        def killer(mutant):
            with one_of(trees) as tree, mutant.made(tree):
                return failing(tree, mutant.tests)

        width = max(len(mutant.safeguard) for mutant in chosen)
        print(f"{'safeguard turned off':{width}}  killed by")
        killers = []
        for mutant, found in zip(chosen, pool.map(killer, chosen), strict=True):
            killers.append(found)
            print(f"{mutant.safeguard:{width}}  {found or 'NOTHING: it survived'}", flush=True)
    print(f"{len(chosen)} mutants, {killers.count(None)} survived")
    return killers.count(None)


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:2]) else 0)
