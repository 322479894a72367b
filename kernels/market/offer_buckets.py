"""Merit order by need: offers put into price buckets once, and a bucket sorted only when its order decides something.

A word holds an offer: from the top what its price exceeds the lower edge of its bucket by, its position, and, if there
are bits left, its node, which saves a look elsewhere. Words of a bucket sort by (price, position) as plain integers.
"""

import numpy as np

from flexcore.kernels._jit import inner

_DIGIT_BITS = 11
_FEW = 24  # sorted by insertion
_PER_BUCKET = 256  # offers of a bucket where prices are spread evenly; measured: 128..512 are alike
_MOST_BUCKETS = 1 << 12  # more lose their lines in the cache while they are filled
_WORD_BITS = 62
LOW, SHIFT, PLACE_BITS, NODE_BITS, ZERO = 0, 1, 2, 3, 4  # entries of `plan`; ZERO: bucket of the price of zero


@inner
def bit_length(value):
    """Bits of a number that is not negative."""
    bits = np.int64(0)
    while value > 0:
        value >>= 1
        bits += 1
    return bits


@inner
def first_of_two(a, b, down, time, ident):
    """Return whether offer a of two that have one price comes before b.

    A down offer is a piece of y that is taken when the offer is not: the one that may be given back first comes first,
    which is the last of the down offers, and before any up offer is bought.
    """
    reverse = False
    if down.shape[0] > 0:
        if down[a] != down[b]:
            return down[a] == 1
        reverse = down[a] == 1
    if time.shape[0] > 0 and time[a] != time[b]:
        return (time[a] < time[b]) != reverse
    if ident.shape[0] > 0 and ident[a] != ident[b]:
        return (ident[a] < ident[b]) != reverse
    return (a < b) != reverse


@inner
def plan_buckets(key, down, node_bits, plan):
    """Decide how words are made, so that about as many buckets as pay off come out; returns how many these are.

    A piece has the price of its up offer, or minus that of its down offer.
    """
    n = key.shape[0]
    low = np.int64(2**62)
    high = np.int64(-(2**62))
    if down.shape[0] == 0:
        for o in range(n):
            low = min(low, key[o])
            high = max(high, key[o])
    else:
        for o in range(n):
            p = np.int64(-key[o] if down[o] == 1 else key[o])
            low = min(low, p)
            high = max(high, p)
    place_bits = bit_length(np.int64(n - 1))
    wanted = min(np.int64(_MOST_BUCKETS), max(np.int64(1), np.int64(n // _PER_BUCKET)))
    shift = max(np.int64(0), min(bit_length(high - low) - bit_length(wanted - 1), _WORD_BITS - place_bits))
    plan[LOW] = low
    plan[SHIFT] = shift
    plan[PLACE_BITS] = place_bits
    plan[NODE_BITS] = node_bits if shift + place_bits + node_bits <= _WORD_BITS else np.int64(0)
    plan[ZERO] = (-low) >> shift if low <= 0 else np.int64(-1)
    return ((high - low) >> shift) + 1


@inner
def fill_buckets(key, down, node, plan, start, words):
    """Write the words bucket by bucket, positions ascending inside one; returns the length of the longest.

    Bucket b is start[b]..start[b + 1].
    """
    n = key.shape[0]
    n_buckets = start.shape[0] - 1
    low = plan[LOW]
    shift = plan[SHIFT]
    place_bits = plan[PLACE_BITS]
    node_bits = plan[NODE_BITS]
    two_ways = down.shape[0] > 0
    inside = (np.int64(1) << shift) - 1
    for b in range(n_buckets + 1):
        start[b] = 0
    for o in range(n):
        above = np.int64(-key[o] if two_ways and down[o] == 1 else key[o]) - low
        start[(above >> shift) + 1] += 1
    longest = np.int64(0)
    for b in range(n_buckets):
        longest = max(longest, start[b + 1])
        start[b + 1] += start[b]
    following = start[:n_buckets].copy()
    for o in range(n):
        above = np.int64(-key[o] if two_ways and down[o] == 1 else key[o]) - low
        word = ((above & inside) << place_bits) | o
        if node_bits > 0:
            word = (word << node_bits) | node[o]
        b = above >> shift
        words[following[b]] = word
        following[b] += 1
    return longest


@inner
def _insert(words, lo, hi):
    for i in range(lo + 1, hi):
        word = words[i]
        j = i
        while j > lo and words[j - 1] > word:
            words[j] = words[j - 1]
            j -= 1
        words[j] = word


@inner
def sort_words(words, lo, hi, spare, count, stack):
    """Sort a range of distinct words: digits from the top, each range by as many bits as it has words."""
    top = np.int64(1)
    stack[0, 0] = lo
    stack[0, 1] = hi
    while top > 0:
        top -= 1
        a = stack[top, 0]
        z = stack[top, 1]
        n = z - a
        if n <= _FEW:
            _insert(words, a, z)
            continue
        low = words[a]
        high = words[a]
        for i in range(a + 1, z):
            low = min(low, words[i])
            high = max(high, words[i])
        shift = max(np.int64(0), bit_length(high - low) - min(np.int64(_DIGIT_BITS), bit_length(n)))
        digits = ((high - low) >> shift) + 1
        for d in range(digits + 1):
            count[d] = 0
        for i in range(a, z):
            count[((words[i] - low) >> shift) + 1] += 1
        for d in range(digits):
            count[d + 1] += count[d]
        for i in range(a, z):
            d = (words[i] - low) >> shift
            spare[count[d]] = words[i]
            count[d] += 1
        for i in range(n):
            words[a + i] = spare[i]
        if shift == 0:
            continue
        # count[d] is now the end of digit d; long ones go on, the others are done in one go
        begin = np.int64(0)
        for d in range(digits):
            end = count[d]
            if end - begin > _FEW:
                stack[top, 0] = a + begin
                stack[top, 1] = a + end
                top += 1
            else:
                _insert(words, a + begin, a + end)
            begin = end


@inner
def sort_ties(words, lo, hi, plan, spare, down, time, ident):
    """Put runs of one price in order; the range is sorted by (price, position) already."""
    if down.shape[0] == 0 and time.shape[0] == 0 and ident.shape[0] == 0:
        return
    place_bits = plan[PLACE_BITS]
    node_bits = plan[NODE_BITS]
    places = (np.int64(1) << place_bits) - 1
    a = lo
    while a < hi:
        z = a + 1
        price = words[a] >> (place_bits + node_bits)
        while z < hi and words[z] >> (place_bits + node_bits) == price:
            z += 1
        # merge sort, from pairs up
        width = np.int64(1)
        while width < z - a:
            begin = a
            while begin + width < z:
                middle = begin + width
                end = min(middle + width, z)
                n_left = middle - begin
                one = (words[middle] >> node_bits) & places
                other = (words[middle - 1] >> node_bits) & places
                if first_of_two(one, other, down, time, ident):
                    for i in range(n_left):
                        spare[i] = words[begin + i]
                    i = np.int64(0)
                    j = middle
                    k = begin
                    while i < n_left:
                        right_first = False
                        if j < end:
                            one = (words[j] >> node_bits) & places
                            other = (spare[i] >> node_bits) & places
                            right_first = first_of_two(one, other, down, time, ident)
                        if right_first:
                            words[k] = words[j]
                            j += 1
                        else:
                            words[k] = spare[i]
                            i += 1
                        k += 1
                begin = end
            width *= 2
        a = z
