"""The context in a MADE of nflows.

There it enters behind the first layer and again in every block, by linear layers of its own. Here it enters beside
the columns, at the input. A ReLU lets it pass on from there: c = relu(c) - relu(-c), so units that hold c and -c carry
it to where it is needed, exactly. With other activations there is no such way.
"""

import numpy as np

from .networks import Linear


def _stack(rows):
    """A Linear of blocks: rows of (blocks of weight, bias, blocks of mask)."""
    weight = np.concatenate([np.concatenate(weights, axis=1) for weights, _, _ in rows])
    mask = np.concatenate([np.concatenate(masks, axis=1) for _, _, masks in rows]).astype(bool)
    return Linear(weight, np.concatenate([bias for _, bias, _ in rows]), mask)


def with_context_in_blocks(layers, first_context, block_contexts):
    """A residual network whose input is the columns and the context.

    `layers` are those without context: input, two per block, output. `first_context`, activated, is added behind the
    input; block_contexts[b] behind the first layer of block b.
    """
    first, last = layers[0], layers[-1]
    units, features = first.weight.shape
    count = first_context.weight.shape[1]
    keep, none = np.eye(count), np.zeros
    ones = np.ones((units, count))
    beside = none((units, count))
    unseen = none((count, features))
    carried = [([unseen, sign * keep], none(count), [unseen, keep]) for sign in (1, -1)]
    built = [_stack([([first.weight, beside], first.bias, [first.mask, beside]), *carried])]
    # One more block adds the activated context to each unit; the mask gives its units the degrees of those.
    same = np.eye(units)
    built.append(_stack([([none((units, units)), first_context.weight, -first_context.weight], first_context.bias,
                          [same, ones, ones])]))
    built.append(_stack([([same], none(units), [same]), ([none((2 * count, units))], none(2 * count),
                                                         [none((2 * count, units))])]))
    for b, context in enumerate(block_contexts):
        inner, outer = layers[1 + 2 * b], layers[2 + 2 * b]
        built.append(_stack([([inner.weight, context.weight, -context.weight], inner.bias + context.bias,
                              [inner.mask, ones, ones])]))
        built.append(_stack([([outer.weight], outer.bias, [outer.mask]), ([none((2 * count, units))], none(2 * count),
                                                                          [none((2 * count, units))])]))
    outputs = len(last.bias)
    rest = none((outputs, 2 * count))
    return [*built, _stack([([last.weight, rest], last.bias, [last.mask, rest])])]


def with_context_first(layers, first_context):
    """A plain network, to whose first sums the activated `first_context` is added: one more layer carries the columns
    and computes that."""
    first = layers[0]
    units, features = first.weight.shape
    count = first_context.weight.shape[1]
    used = np.flatnonzero(first.mask.any(axis=0))
    pick = np.eye(features)[used]
    nothing, none = np.zeros((len(used), count)), np.zeros
    carry = _stack([
        ([pick, nothing], none(len(used)), [pick, nothing]),
        ([-pick, nothing], none(len(used)), [pick, nothing]),
        ([none((units, features)), first_context.weight], first_context.bias, [first.mask, np.ones((units, count))]),
    ])
    same = np.eye(units)
    weight, mask = first.weight[:, used], first.mask[:, used]
    return [carry, _stack([([weight, -weight, same], first.bias, [mask, mask, same])]), *layers[1:]]
