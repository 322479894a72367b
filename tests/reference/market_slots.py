"""Slots written from the rule text of D4.1 section 6.3 with one dict: (pod, step) -> (operator, firm)."""


class DictSlots:
    def __init__(self, n_pods, n_steps):
        self.n_pods, self.n_steps = n_pods, n_steps
        self.holder = {}
        self.blocked = set()

    def hold(self, operator, pods, mask, firm_steps):
        wanted = [(pod, t) for pod, row in zip(pods, mask, strict=True) for t in range(self.n_steps) if row[t]]
        if len(set(wanted)) < len(wanted) or any(slot in self.holder or slot in self.blocked for slot in wanted):
            return False
        for pod, t in wanted:
            self.holder[pod, t] = (operator, t in firm_steps)
        return True

    def release(self, operator, from_step):
        gone = [slot for slot, held in self.holder.items() if held == (operator, False) and slot[1] >= from_step]
        for slot in gone:
            del self.holder[slot]
        return len(gone)

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
        """The other operator's slots, blocked ones, and one's own firm ones."""
        if (pod, t) in self.blocked:
            return True
        held = self.holder.get((pod, t))
        return held is not None and held != (operator, False)

    def state(self, pod, t):
        if (pod, t) in self.blocked:
            return 5
        held = self.holder.get((pod, t))
        return 0 if held is None else 1 + 2 * held[0] + held[1]


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
