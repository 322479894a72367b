"""Why an offer was not taken and why a need stayed open: stable codes, and a sentence for each."""

#: Kinds of elements, and the word for each.
NODE, ELEMENT, PERIMETER, ZONE = range(4)
KIND_WORDS = ("the branch of node", "element", "perimeter", "zone")

# name, sentence after "Offer ... in step ...": {w} not accepted, {limit} bound, {margin} price, {at} element, {by} who.
# A code is a position: names are added at the end and never moved.
_REASONS: tuple[tuple[str, str], ...] = (
    ("accepted", "is accepted in full"),
    ("marginal", "is accepted in part: it sets the price of {margin}, and the need is met without its last {w} W"),
    ("dearer", "is not needed: what serves the need costs at most {margin}"),
    ("tie", "costs as much as the dearest accepted offer ({margin}), but comes later in the order of ties"),
    ("element_full", "keeps {w} W because {at} is full at {limit} W"),
    ("perimeter_full", "keeps {w} W because the capability of {at}, {limit} W, is used up"),
    ("opposed", "keeps {w} W because more would undo what {at} needs in the other direction"),
    ("voltage", "keeps {w} W because the voltage at {at} leaves no room"),
    ("direction", "is of a direction that its perimeter may not use in this step"),
    ("other_direction", "is of the direction that is not needed"),
    ("no_need", "meets no need that is still open"),
    ("weak", "has too little effect on every need"),
    ("price_cap", "costs more than the price cap"),
    ("red_light", "lies in a perimeter whose light is red in its direction"),
    ("no_perimeter", "lies outside every perimeter"),
    ("held", "lost {w} W that the other operator holds{by}"),
    ("withdrawn", "was withdrawn as a whole: it still counted PODs that the other operator holds{by}"),
    ("not_validated", "lost {w} W beyond the validated power of its PODs"),
    ("minimum", "cannot be taken below its minimum quantity"),
    ("granularity", "keeps {w} W that do not make up a whole grain"),
    ("gate", "came after the gate"),
    ("expired", "had expired"),
    ("notice", "needs more notice than was left"),
    ("recovery", "is still recovering from its last activation"),
    ("exclusive", "excludes another offer that was taken"),
    ("not_priced", "keeps {w} W, and no price explains it: voltage or an indivisible offer decided here"),
    ("worth_less", "costs more than a W is worth at its place under the voltage rows: {margin}"),
    ("pods_taken", "lost {w} W in the split: its PODs serve another line, or have not recovered"),
    ("no_offers", "there is no offer at or below it"),
    ("exhausted", "all offers at and below it come to {offered} W"),
    ("blocked", "{w} W of offers below it were not taken"),
    ("counter", "{w} W of the other direction act below it"),
)
CODE_NAMES = tuple(name for name, _ in _REASONS)
SENTENCES = tuple(text for _, text in _REASONS)
#: Name of a reason -> its code.
CODE = {name: code for code, name in enumerate(CODE_NAMES)}
