"""What must never be true of a model, whatever happened to it: named, so that a finding says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from evergreen.domain.state import BakePhase, ModelState, ShadowRole, Version, VersionStatus


def violations(state: ModelState) -> tuple[str, ...]:
    """Name everything that is true of the state and must never be; empty for every state that events lead to.

    Examples
    --------
    >>> violations(ModelState("churn"))
    ()
    >>> violations(ModelState("churn", production=7))
    ('the version in production was never registered',)
    """
    return tuple(name for name, holds in NEVER.items() if holds(state))


def _numbers(state: ModelState) -> list[int]:
    return [version.number for version in state.versions]


def _with(state: ModelState, status: VersionStatus) -> list[int]:
    return [version.number for version in state.versions if version.status is status]


def _status(state: ModelState, number: int | None) -> VersionStatus | None:
    """The version's status; None for one that is not there."""
    found = _found(state, number)
    return None if found is None else found.status


def _found(state: ModelState, number: int | None) -> Version | None:
    return next((version for version in state.versions if version.number == number), None)


def _unregistered(state: ModelState) -> bool:
    return state.production is not None and state.production not in _numbers(state)


def _numbers_repeat(state: ModelState) -> bool:
    numbers = _numbers(state)
    return numbers != sorted(set(numbers))


def _rolled_back_answers(state: ModelState) -> bool:
    return _status(state, state.production) is VersionStatus.ROLLED_BACK


def _unproven_answers(state: ModelState) -> bool:
    allowed = (VersionStatus.BAKING, VersionStatus.GOOD, VersionStatus.ROLLED_BACK)  # the last has a name of its own
    found = _status(state, state.production)
    return found is not None and found not in allowed


def _shadow_answers(state: ModelState) -> bool:
    return state.shadow is not None and state.shadow.version == state.production


def _shadow_is_unknown(state: ModelState) -> bool:
    return state.shadow is not None and state.shadow.version not in _numbers(state)


def _shadow_against_another(state: ModelState) -> bool:
    return state.shadow is not None and state.shadow.judged_against != state.production


def _two_challengers(state: ModelState) -> bool:
    return len(_with(state, VersionStatus.SHADOW)) > 1


def _shadow_out_of_place(state: ModelState) -> bool:
    shadow = state.shadow
    challenger = shadow.version if shadow is not None and shadow.role is ShadowRole.CHALLENGER else None
    return any(number != challenger for number in _with(state, VersionStatus.SHADOW)) or (
        challenger is not None and _status(state, challenger) is not VersionStatus.SHADOW
    )


def _idle_sentinel(state: ModelState) -> bool:
    shadow, bake = state.shadow, state.bake
    if shadow is None or shadow.role is not ShadowRole.SENTINEL:
        return False
    return bake is None or bake.phase is not BakePhase.QUALITY or _status(state, shadow.version) is not _GOOD


def _bake_of_another(state: ModelState) -> bool:
    return state.bake is not None and state.bake.version != state.production


def _baking_elsewhere(state: ModelState) -> bool:
    return any(number != state.production for number in _with(state, VersionStatus.BAKING))


def _bake_is_over(state: ModelState) -> bool:
    return state.bake is not None and _status(state, state.bake.version) is not VersionStatus.BAKING


def _repoint_to_rolled_back(state: ModelState) -> bool:
    return state.repoint is not None and _status(state, state.repoint.version) is VersionStatus.ROLLED_BACK


def _repoint_to_unknown(state: ModelState) -> bool:
    return state.repoint is not None and state.repoint.version not in _numbers(state)


def _repoint_to_itself(state: ModelState) -> bool:
    return state.repoint is not None and state.repoint.version == state.production


def _repoint_of_another(state: ModelState) -> bool:
    return state.repoint is not None and state.repoint.instead_of != state.production


def _rollback_to_unproven(state: ModelState) -> bool:
    repoint = state.repoint
    return repoint is not None and repoint.cause is not None and _status(state, repoint.version) is not _GOOD


def _reads_other_features(state: ModelState) -> bool:
    target = None if state.repoint is None else _found(state, state.repoint.version)
    return bool(state.fingerprint) and target is not None and target.fingerprint != state.fingerprint


def _approved_out_of_place(state: ModelState) -> bool:
    repoint = state.repoint
    promoted = None if repoint is None or repoint.cause is not None else repoint.version
    return _with(state, VersionStatus.APPROVED) != ([] if promoted is None else [promoted])


def _stale_proposal(state: ModelState) -> bool:
    proposal, shadow = state.proposal, state.shadow
    if proposal is None:
        return False
    seen = None if shadow is None else (shadow.version, shadow.judged_against)
    return seen != (proposal.version, proposal.judged_against) or proposal.judged_against != state.production


def _lost_production(state: ModelState) -> bool:
    return state.production is None and any(version.promoted_at is not None for version in state.versions)


_GOOD = VersionStatus.GOOD

NEVER: Mapping[str, Callable[[ModelState], bool]] = {
    "the version in production was never registered": _unregistered,
    "nothing is in production although a version was": _lost_production,
    "a version number is there twice, or out of order": _numbers_repeat,
    "a version that was rolled back is in production": _rolled_back_answers,
    "the version in production was never promoted": _unproven_answers,
    "the version in shadow is in production": _shadow_answers,
    "the version in shadow was never registered": _shadow_is_unknown,
    "the version in shadow is judged against another than production": _shadow_against_another,
    "two challengers are in shadow": _two_challengers,
    "a version counts as in shadow and is not, or is and does not count": _shadow_out_of_place,
    "a sentinel watches without a quality bake, or is not known to be good": _idle_sentinel,
    "a version bakes that is not in production": _bake_of_another,
    "a version counts as baking that is not in production": _baking_elsewhere,
    "a bake goes on of a version that does not count as baking": _bake_is_over,
    "a repoint leads to a version that was rolled back": _repoint_to_rolled_back,
    "a repoint leads to a version that was never registered": _repoint_to_unknown,
    "a repoint leads to the version in production": _repoint_to_itself,
    "a repoint replaces another version than the one in production": _repoint_of_another,
    "a rollback leads to a version that is not known to be good": _rollback_to_unproven,
    "a repoint leads to a version that reads other features than the spec": _reads_other_features,
    "a version counts as approved and no repoint leads to it, or the other way round": _approved_out_of_place,
    "a proposal is about another shadow or another production": _stale_proposal,
}
"""What must never be, by name."""
