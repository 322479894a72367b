"""State machines and readiness as dicts and loops, written from the text of the rule."""

# the drawing, one line per machine: state -event-> state
UNIT = """
NEW activate ACTIVE
ACTIVE pause INACTIVE
INACTIVE resume ACTIVE
ACTIVE terminate TERMINATED
INACTIVE terminate TERMINATED
"""
AGGREGATE = UNIT
STL = """
PENDING start IN_PROGRESS
CONFIRMED start IN_PROGRESS
MODULATED start IN_PROGRESS
INVALID start IN_PROGRESS
INCOMPLETE start IN_PROGRESS
IN_PROGRESS confirm CONFIRMED
IN_PROGRESS modulate MODULATED
IN_PROGRESS invalidate INVALID
IN_PROGRESS ask INCOMPLETE
CONFIRMED change PENDING
MODULATED change PENDING
INVALID change PENDING
INCOMPLETE change PENDING
IN_PROGRESS change PENDING
PENDING owner_change PENDING
CONFIRMED owner_change PENDING
MODULATED owner_change PENDING
INVALID owner_change PENDING
INCOMPLETE owner_change PENDING
IN_PROGRESS owner_change PENDING
"""
AGGREGATE_GRID = """
REQUESTED start IN_PROGRESS
IN_PROGRESS approve APPROVED
IN_PROGRESS condition CONDITIONAL
IN_PROGRESS refuse REFUSED
APPROVED change IN_PROGRESS
CONDITIONAL change IN_PROGRESS
REFUSED change IN_PROGRESS
"""
AGGREGATE_PRODUCT = """
REQUESTED test TESTING
TESTING pass PREQUALIFIED
TESTING fail REFUSED
REQUESTED admit TEMPORARY
TEMPORARY verify VERIFIED
TEMPORARY refuse REFUSED
REFUSED reapply REQUESTED
REQUESTED toe EQUIVALENT
PREQUALIFIED expire REQUESTED
TEMPORARY expire REQUESTED
VERIFIED expire REQUESTED
EQUIVALENT expire REQUESTED
TESTING change REQUESTED
PREQUALIFIED change REQUESTED
REFUSED change REQUESTED
TEMPORARY change REQUESTED
VERIFIED change REQUESTED
EQUIVALENT change REQUESTED
"""
APPROVES = {"confirm", "modulate", "approve", "condition", "pass", "verify", "toe", "admit"}
WITHDRAWS = {"invalidate", "ask", "owner_change", "refuse", "fail", "expire"}


def transitions(drawing):
    """(state, event) -> state."""
    return {(line.split()[0], line.split()[1]): line.split()[2] for line in drawing.strip().splitlines()}


def approval(machine, event, before, at):
    if event in APPROVES:
        return at
    # a change takes what a test has shown away, but leaves the approval of a light or a grid check until the next one
    if event in WITHDRAWS or (machine == "AGGREGATE_PRODUCT" and event == "change"):
        return -1
    return before


def ready(register, unit, operator, now, window_open, direction=None):
    """Names of the causes for which one unit is not ready at one time, in one direction or in any."""
    u, a, q = register.units, register.aggregates, register.qualifications
    causes = set()
    if u.state[unit] != 1:
        causes.add("unit")
    if not u.contract_from[unit] <= now < u.contract_to[unit]:
        causes.add("contract")
    if not 0 <= u.light_approved_at[unit] <= now:
        causes.add("light")
    suspended = 0 <= u.suspended_from[unit] <= now < u.suspended_to[unit]
    aggregate = u.aggregate[operator, unit]
    if aggregate < 0:
        causes |= {"aggregate", "grid", "product", "window"}
    else:
        if a.state[aggregate] != 1:
            causes.add("aggregate")
        if not 0 <= a.grid_approved_at[aggregate] <= now:
            causes.add("grid")
        suspended |= 0 <= a.suspended_from[aggregate] <= now < a.suspended_to[aggregate]
        good = []
        for row in range(q.state.size):
            if q.aggregate[row] == aggregate:
                approved = 0 <= q.approved_at[row] <= now < q.expires_at[row]  # by a test or temporarily
                power = {0: q.up_w[row], 1: q.down_w[row], None: q.up_w[row] + q.down_w[row]}[direction]
                if power > 0 and approved:
                    good.append(row)
        if not good:
            causes.add("product")
        if not any(window_open(q.product[row], now) for row in good):
            causes.add("window")
    if suspended:
        causes.add("suspended")
    return causes


def ready_w(register, operator, direction, now, window_open):
    """What each unit may sell: members in the order of their ids, until the qualified power is used up."""
    u, q = register.units, register.qualifications
    enrolled = (u.enrolled_up_w, u.enrolled_down_w)[direction][operator]
    sold = [0] * len(enrolled)
    left = {}
    for row in range(q.state.size):
        stands = 0 <= q.approved_at[row] <= now < q.expires_at[row]
        if stands and window_open(q.product[row], now):
            power = int((q.up_w, q.down_w)[direction][row])
            left[q.aggregate[row]] = max(left.get(q.aggregate[row], 0), power)
    for unit in sorted(range(len(sold)), key=lambda k: u.unit_id[k]):
        if not ready(register, unit, operator, now, window_open, direction):
            aggregate = u.aggregate[operator, unit]
            sold[unit] = min(int(enrolled[unit]), left[aggregate])
            left[aggregate] -= sold[unit]
    return sold
