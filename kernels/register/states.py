"""State machines and readiness, one row per entity."""

from flexcore.kernels._jit import I32, I64, U8, U8_2D, U8_OUT, U16_2D, U16_2D_OUT, i64, kernel

NO_EVENT = 255
APPLIED, UNTOUCHED, ILLEGAL, NOT_ALLOWED = 0, 1, 2, 3


@kernel(U8, U8, U8, U8_2D, U8_OUT, U8_OUT, i64, i64)
def step_states(state, event, allowed, next_state, state_out, reason_out, i0, i1):
    """Apply event[i] to state[i]; a refused row keeps its state and says why. next_state 255: no such transition."""
    for i in range(i0, i1):
        state_out[i] = state[i]
        if event[i] == NO_EVENT:
            reason_out[i] = UNTOUCHED
            continue
        following = next_state[state[i], event[i]]
        if following == 255:
            reason_out[i] = ILLEGAL
        elif not allowed[i]:
            reason_out[i] = NOT_ALLOWED
        else:
            state_out[i] = following
            reason_out[i] = APPLIED


@kernel(U8, I64, I64, I64, I64, I64, I32, U16_2D, I64, U16_2D_OUT, i64, i64)
def unit_ready(
    active,
    contract_from,
    contract_to,
    light_approved_at,
    suspended_from,
    suspended_to,
    aggregate,
    aggregate_bits,
    times,
    bits_out,
    i0,
    i1,
):
    """Collect the causes of 'not ready' of units i0..i1 at each time; bits as in flexcore.register.readiness.

    The last row of aggregate_bits stands for 'in no aggregate'.
    """
    nobody = aggregate_bits.shape[0] - 1
    for i in range(i0, i1):
        row = aggregate[i] if aggregate[i] >= 0 else nobody
        for t in range(times.size):
            now = times[t]
            bits = aggregate_bits[row, t]
            if not active[i]:
                bits |= 1
            if now < contract_from[i] or now >= contract_to[i]:
                bits |= 2
            if light_approved_at[i] < 0 or now < light_approved_at[i]:
                bits |= 4
            if suspended_from[i] >= 0 and suspended_from[i] <= now and now < suspended_to[i]:
                bits |= 64
            bits_out[i, t] = bits
