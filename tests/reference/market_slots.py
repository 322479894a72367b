"""Slots written from the rule text of D4.1 section 6.3 with one dict: (pod, step) -> (operator, firm)."""


class DictSlots:
    def __init__(self, n_pods, n_steps, recovery=None, max_run=None):
        self.n_pods, self.n_steps = n_pods, n_steps
        self.recovery = recovery or [0] * n_pods
        self.max_run = max_run or [0] * n_pods
        self.holder = {}
        self.blocked = set()

    def hold(self, operator, pods, mask, firm_steps):
        wanted = [(pod, t) for pod, row in zip(pods, mask, strict=True) for t in range(self.n_steps) if row[t]]
        if len(set(wanted)) < len(wanted) or any(slot in self.holder or slot in self.blocked for slot in wanted):
            return False
        after = {slot: held[0] for slot, held in self.holder.items()} | dict.fromkeys(wanted, operator)
        if not all(self.keeps_limits(pod, after, set(wanted)) for pod in range(self.n_pods)):
            return False
        for pod, t in wanted:
            self.holder[pod, t] = (operator, t in firm_steps)
        return True

    def keeps_limits(self, pod, holder, wanted):
        """MUT-05: requests are runs of one operator; those with a wanted slot keep their distance and their length."""
        runs = requests(pod, holder, self.n_steps)
        new = [any((pod, t) in wanted for t in run) for _, run in runs]
        for i in range(1, len(runs)):
            gap = runs[i][1][0] - runs[i - 1][1][-1] - 1
            if (new[i] or new[i - 1]) and gap < self.recovery[pod]:
                return False
        longest = self.max_run[pod]
        return not longest or all(len(run) <= longest for fresh, (_, run) in zip(new, runs, strict=True) if fresh)

    def in_recovery(self, pod, t):
        """None, or whether a firm slot is among those that keep this free one in recovery."""
        r = self.recovery[pod]
        near = [self.holder[pod, s][1] for s in range(t - r, t + r + 1) if (pod, s) in self.holder]
        return None if not near else any(near)

    def release(self, operator, from_step):
        gone = [slot for slot, held in self.holder.items() if held == (operator, False) and slot[1] >= from_step]
        for slot in gone:
            del self.holder[slot]
        return len(gone)

    def give_back(self, operator, mask):
        marked = [(pod, t) for pod in range(self.n_pods) for t in range(self.n_steps) if mask[pod][t]]
        if any(self.holder.get(slot, (None,))[0] != operator for slot in marked):
            return False
        for slot in marked:
            del self.holder[slot]
        return True

    def make_firm(self, operator, steps):
        turned = [slot for slot, held in self.holder.items() if held == (operator, False) and slot[1] in steps]
        for slot in turned:
            self.holder[slot] = (operator, True)
        return len(turned)

    def block(self, pods, mask):
        for pod, row in zip(pods, mask, strict=True):
            for t in range(self.n_steps):
                if row[t] and (pod, t) not in self.holder:
                    self.blocked.add((pod, t))

    def unavailable(self, operator, pod, t):
        """The other operator's slots, blocked ones, those in recovery, and one's own firm ones."""
        if (pod, t) in self.blocked:
            return True
        held = self.holder.get((pod, t))
        if held is None:
            return self.in_recovery(pod, t) is not None
        return held != (operator, False)

    def state(self, pod, t):
        if (pod, t) in self.blocked:
            return 5
        held = self.holder.get((pod, t))
        if held is None:
            return {None: 0, True: 6, False: 7}[self.in_recovery(pod, t)]
        return 1 + 2 * held[0] + held[1]


def requests(pod, holder, n_steps):
    """Runs of neighbouring steps that one operator holds, in order: [(operator, [steps])]."""
    runs = []
    for t in range(n_steps):
        who = holder.get((pod, t))
        if who is None:
            continue
        if runs and runs[-1][0] == who and runs[-1][1][-1] == t - 1:
            runs[-1][1].append(t)
        else:
            runs.append((who, [t]))
    return runs


def line_power(book, state, up_w, down_w, first, stop):
    """Free power per member, free and held power per line, one slot at a time."""
    n_steps = len(state[0])
    member, free, held = {}, {}, {}
    for line in range(book.n_lines):
        for m in range(book.indptr[line], book.indptr[line + 1]):
            pod = book.pods[m]
            for t in range(n_steps):
                power = int((up_w if book.direction[line] == 0 else down_w)[pod][t]) if first <= t < stop else 0
                available = state[pod][t] in (0, 1 + 2 * book.operator)
                member[m, t] = power if available else 0
                free[line, t] = free.get((line, t), 0) + member[m, t]
                held[line, t] = held.get((line, t), 0) + power - member[m, t]
    return member, free, held
