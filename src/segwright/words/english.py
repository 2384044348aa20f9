"""Word lists that ``nouns.py`` reads captions with. Literal, each with the reason why it is there."""

from __future__ import annotations


def listed(words: str) -> frozenset[str]:
    """Words that stand in one string, with spaces between them."""
    return frozenset(words.split())


# A caption talks about itself: "a picture of", "a close up", "a view of". No pixel belongs to these.
PICTURE_WORDS = listed(
    "picture photo photograph image shot view scene close-up closeup portrait snapshot selfie display style version overview "
    "glimpse look perspective angle foreground background setting backdrop pattern caption"
)

# Where something is, not what: "in front of", "on top of", "the left side".
PLACE_WORDS = listed(
    "front back top bottom side left right middle center centre edge end corner inside outside distance direction way area spot "
    "position part half rest place space surface surroundings row line order shape color colour size part section opening "
    "location"
)

# When and how: "during the day", "in motion", "in use".
TIME_WORDS = listed(
    "day night time morning evening afternoon noon dusk dawn midday moment today season winter summer spring autumn fall weather "
    "motion action use show sale fun joy air play flight mid-air midair pose lot "
    "lots bit amount series one ones other others another each something nothing anything everything someone anyone stuff thing "
    "things item items object objects mess turn walk ride trip activity"
)

# Measures: dropped before "of" or another noun ("a bowl of", which is a thing, is not among them); alone, a herd is no word
# for what is seen either, but a couple, a crowd, a team and a slice are.
MEASURES = listed(
    "group couple bunch pair herd flock pile stack set piece slice row array collection assortment cluster crowd load body knot "
    "dozen handful heap host school pack swarm lot number variety series sheet team bit kind type sort selection"
)
MEASURES_THAT_ARE_THINGS = listed("couple crowd slice team sheet pack school")
# Dropped alone, but the head of compounds that are things: "telephone lines", "tv set", "baseball team".
HEADS_OF_COMPOUNDS = listed("line set stack array school team pack sheet")
# How many and which, not what like: not told as adjectives.
QUANTIFIERS = listed("several many various other same different few more most much own next first last such")

NOT_THINGS = PICTURE_WORDS | PLACE_WORDS | TIME_WORDS | (MEASURES - MEASURES_THAT_ARE_THINGS)

# Tagged as nouns, or nouns of their own, but adjectives wherever a noun follows; "orange" is left to its neighbours.
ADJECTIVES = listed(
    "white black red green grey gray brown blue yellow pink purple beige tan maroon turquoise silver golden giant mini miniature "
    "unmade flowering brand analogue analog retro chinese japanese adult baby male female double close double-decker"
)
# Adjectives that stand for a person when no noun follows: "a male is wearing white".
PERSONS = listed("male female adult teen elderly")

# A plural that has no singular, or another meaning in the singular ("glasses"); "skis" because COCO's class is called so.
PLURAL_ONLY = listed(
    "scissors glasses eyeglasses sunglasses goggles pants trousers jeans shorts tights leggings pajamas pyjamas clothes stairs "
    "skis binoculars headphones tongs pliers tweezers overalls bleachers suspenders greens fries waterdrops clouds shelves leaves "
    "bedclothes cattle woods groceries condiments"
)
# Where lemminflect, or English, is not regular enough.
SINGULARS = {"people": "person", "persons": "person", "shelves": "shelves", "leaves": "leaves", "buses": "bus", "busses": "bus"}

# Compounds that the benchmarks' class lists do not have and whose first part the tagger takes for an adjective or a verb.
COMPOUNDS = frozenset(
    {
        "stuffed animal",
        "stuffed bear",
        "flat screen",
        "french fries",
        "polar bear",
        "brown bear",
        "black bear",
        "hot air balloon",
        "ice cream",
        "high chair",
        "living room",
        "dining room",
        "dining area",
        "barbed wire",
        "stop light",
        "washing machine",
        "vending machine",
        "rocking chair",
        "cutting board",
        "frying pan",
        "shopping cart",
        "shopping bag",
        "parking lot",
        "baking sheet",
        "remote control",
        "mobile phone",
        "cellular phone",
        "sleeping bag",
        "walking stick",
        "fishing rod",
        "fishing boat",
        "sailing boat",
        "wedding cake",
        "wedding dress",
        "serving tray",
        "mixing bowl",
        "measuring cup",
        "swivel chair",
        "fire truck",
        "fire engine",
        "sweet potato",
        "green bean",
        "hard drive",
        "flying disc",
        "palm tree",
    }
)
