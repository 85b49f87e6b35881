"""The statistics behind Evergreen's four decisions, on counts and in plain numpy.

- ``sequential``: is the shadow better (promote, keep, need_more_data), is a new version healthy (bake)?
- ``days``: how much do days differ, so that rows count for less, and what do the days say by themselves?
- ``macro_f1``: the same by macro-F1, which is no loss a row: asymptotic, and slower.
- ``losses``: what an answer costs, and the difference that counts in full.
- ``degradation``: has the accuracy in production fallen below what is acceptable?
- ``profile``: mergeable counts of a file's columns per bin.
- ``drift``: does the window look different from the model's own history?
- ``special``: the few special functions these need, in logs, so that no Lambda has to import scipy.
- ``checks``, ``words``: how bad input is refused, and enums that are their own text.

Nothing here reads a clock, an environment or a service, and nothing is random. It runs on Python 3.10 and
numpy 1.26 too, because a training job packs it.
"""
