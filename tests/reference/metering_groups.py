"""Sums and marks of groups of PODs with dictionaries, from the rule text."""


def sums_of(values, group):
    """Sums per group of `values[pod][step]`, None where a member has None; and how many are None."""
    result, missing = {}, {}
    for pod, of in enumerate(group):
        for step, value in enumerate(values[pod]):
            before = result.setdefault(of, {}).get(step, 0)
            result[of][step] = None if before is None or value is None else before + value
    for of, row in result.items():
        missing[of] = sum(value is None for value in row.values())
    return {of: [row[step] for step in sorted(row)] for of, row in result.items()}, missing


def any_of(marks, group):
    """Whether any member of each group is marked, per step."""
    result = {}
    for pod, of in enumerate(group):
        before = result.get(of, [False] * len(marks[pod]))
        result[of] = [a or bool(b) for a, b in zip(before, marks[pod], strict=True)]
    return result


def choice_of(choice, group):
    """Order of choice of each group: 0 where a member's is 0, else the largest."""
    result = {}
    for pod, of in enumerate(group):
        before = result.get(of)
        row = [int(c) for c in choice[pod]]
        result[of] = (
            row if before is None else [0 if 0 in (a, b) else max(a, b) for a, b in zip(before, row, strict=True)]
        )
    return result
