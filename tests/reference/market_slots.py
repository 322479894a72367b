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
