"""How packages hang together, beyond what import-linter's contracts say."""

import grimp
import pytest


def cycles(package):
    """The sets of modules of a package that import one another, in a circle or each other."""
    graph = grimp.build_graph(package, cache_dir=None)
    number, low, path, found = {}, {}, [], []

    def visit(module):  # Tarjan: what can reach itself is one component
        number[module] = low[module] = len(number)
        path.append(module)
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            if imported not in number:
                visit(imported)
                low[module] = min(low[module], low[imported])
            elif imported in path:
                low[module] = min(low[module], number[imported])
        if low[module] == number[module]:
            at = path.index(module)
            component = path[at:]
            del path[at:]
            if len(component) > 1:
                found.append(sorted(component))

    for module in sorted(graph.modules):
        if module not in number:
            visit(module)
    return found


@pytest.mark.parametrize("package", ["evergreen", "evergreen_ops", "local_cloud"])
def test_no_modules_import_one_another(package):
    assert cycles(package) == []
