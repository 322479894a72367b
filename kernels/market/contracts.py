"""Long-term contracts in a session: what each one must offer, split over its lines."""

import numpy as np

from flexcore.kernels._jit import B1_2D, I32, I64, I64_2D, I64_2D_OUT, i64, kernel


@kernel(I64, I32, B1_2D, I64, I64_2D, I64, I32, I64_2D, i64, i64, I64_2D_OUT, I64_2D_OUT, i64, i64)
def offer_contracts(
    set_ptr,
    window,
    is_open,
    contracted_w,
    requested_w,
    line_ptr,
    line,
    available_w,
    t0,
    t1,
    offered_out,
    short_out,
    c0,
    c1,
):
    """Offer the lower of contracted and requested power inside the windows, as far as the lines of a contract have it.

    Lines get the difference of rounded-down running shares of what they have: the shares add up exactly and none is
    above what its line has. `short_out` is what the obligation lacks. Both are 0 outside steps [t0, t1).
    """
    for c in range(c0, c1):
        for t in range(short_out.shape[1]):
            short_out[c, t] = 0
            for m in range(line_ptr[c], line_ptr[c + 1]):
                offered_out[line[m], t] = 0
        for t in range(t0, t1):
            inside = False
            for k in range(set_ptr[c], set_ptr[c + 1]):
                inside = inside or is_open[window[k], t]
            if not inside:
                continue
            due = min(contracted_w[c], requested_w[c, t])
            total = np.int64(0)
            for m in range(line_ptr[c], line_ptr[c + 1]):
                total += available_w[line[m], t]
            give = min(due, total)
            short_out[c, t] = due - give
            if give == 0:
                continue
            running = np.int64(0)
            before = np.int64(0)
            for m in range(line_ptr[c], line_ptr[c + 1]):
                running += available_w[line[m], t]
                up_to = running * give // total
                offered_out[line[m], t] = up_to - before
                before = up_to
