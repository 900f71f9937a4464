"""The words of the English-French grammar, and the sound rules that join French words."""

from dataclasses import dataclass
from itertools import pairwise

PERSON, ANIMAL, FOOD, TEXT, VEHICLE, PLACE = "person", "animal", "food", "text", "vehicle", "place"
ANIMATE = frozenset({PERSON, ANIMAL})
ANYTHING = frozenset({PERSON, ANIMAL, FOOD, TEXT, VEHICLE, PLACE})
THINGS = ANYTHING - ANIMATE

# Every "h" of this lexicon is mute, so a first letter decides whether the word before it loses its vowel.
VOWELS = "aeiouyhàâéèêëîïôœ"


@dataclass(frozen=True)
class Noun:
    """Hold a noun: (singular, plural) in both languages, the French gender, and what kind of thing it is."""

    english: tuple[str, str]
    french: tuple[str, str]
    gender: str
    kind: str


@dataclass(frozen=True)
class Adjective:
    """Hold an adjective and its French forms.

    ``french`` lists masculine, masculine before a vowel, feminine, masculine plural, feminine plural. The
    French word stands ``before`` the noun or after it; it describes some kinds of things, and may follow
    "is" or not. Two adjectives ``about`` the same never describe one noun: no old cat is young.
    """

    english: str
    about: str
    french: tuple[str, str, str, str, str]
    before: bool
    kinds: frozenset[str]
    after_be: bool = True


@dataclass(frozen=True)
class Verb:
    """Hold a verb in the third person (singular, plural), with what may be its subject and its objects.

    ``particle`` is the second English word of "looks for". ``objects`` is empty for intransitive verbs.
    ``recipients`` says who can get the object, after "to". ``definite`` verbs take "the" objects only:
    "some apples" after "likes" has no one French rendering.
    """

    english: tuple[str, str]
    french: tuple[str, str]
    subjects: frozenset[str]
    objects: frozenset[str] = frozenset()
    recipients: frozenset[str] = frozenset()
    particle: str = ""
    definite: bool = False


NOUNS = (
    Noun(("boy", "boys"), ("garçon", "garçons"), "m", PERSON),
    Noun(("girl", "girls"), ("fille", "filles"), "f", PERSON),
    Noun(("man", "men"), ("homme", "hommes"), "m", PERSON),
    Noun(("woman", "women"), ("femme", "femmes"), "f", PERSON),
    Noun(("child", "children"), ("enfant", "enfants"), "m", PERSON),
    Noun(("actress", "actresses"), ("actrice", "actrices"), "f", PERSON),
    Noun(("dog", "dogs"), ("chien", "chiens"), "m", ANIMAL),
    Noun(("cat", "cats"), ("chat", "chats"), "m", ANIMAL),
    Noun(("cow", "cows"), ("vache", "vaches"), "f", ANIMAL),
    Noun(("bird", "birds"), ("oiseau", "oiseaux"), "m", ANIMAL),
    Noun(("apple", "apples"), ("pomme", "pommes"), "f", FOOD),
    Noun(("cake", "cakes"), ("gâteau", "gâteaux"), "m", FOOD),
    Noun(("egg", "eggs"), ("œuf", "œufs"), "m", FOOD),
    Noun(("book", "books"), ("livre", "livres"), "m", TEXT),
    Noun(("letter", "letters"), ("lettre", "lettres"), "f", TEXT),
    Noun(("car", "cars"), ("voiture", "voitures"), "f", VEHICLE),
    Noun(("house", "houses"), ("maison", "maisons"), "f", PLACE),
    Noun(("garden", "gardens"), ("jardin", "jardins"), "m", PLACE),
    Noun(("hotel", "hotels"), ("hôtel", "hôtels"), "m", PLACE),
    Noun(("school", "schools"), ("école", "écoles"), "f", PLACE),
)

ADJECTIVES = (
    Adjective("small", "size", ("petit", "petit", "petite", "petits", "petites"), True, ANYTHING),
    # "un grand homme" is a great man, and a big apple is "grosse": "big" is kept for the other kinds.
    Adjective(
        "big", "size", ("grand", "grand", "grande", "grands", "grandes"), True, ANYTHING - {PERSON, FOOD}
    ),
    Adjective("old", "age", ("vieux", "vieil", "vieille", "vieux", "vieilles"), True, ANYTHING - {FOOD}),
    # After "is", "new" would be "neuf".
    Adjective(
        "new",
        "age",
        ("nouveau", "nouvel", "nouvelle", "nouveaux", "nouvelles"),
        True,
        frozenset({TEXT, VEHICLE, PLACE}),
        after_be=False,
    ),
    Adjective("beautiful", "look", ("beau", "bel", "belle", "beaux", "belles"), True, ANYTHING),
    Adjective("young", "age", ("jeune", "jeune", "jeune", "jeunes", "jeunes"), True, ANIMATE),
    Adjective("red", "colour", ("rouge", "rouge", "rouge", "rouges", "rouges"), False, THINGS - {TEXT}),
    Adjective("green", "colour", ("vert", "vert", "verte", "verts", "vertes"), False, THINGS),
    Adjective(
        "black",
        "colour",
        ("noir", "noir", "noire", "noirs", "noires"),
        False,
        frozenset({ANIMAL, TEXT, VEHICLE}),
    ),
    Adjective(
        "French",
        "origin",
        ("français", "français", "française", "français", "françaises"),
        False,
        frozenset({PERSON, TEXT, VEHICLE, PLACE}),
    ),
    Adjective("happy", "mood", ("heureux", "heureux", "heureuse", "heureux", "heureuses"), False, ANIMATE),
    Adjective("tired", "mood", ("fatigué", "fatigué", "fatiguée", "fatigués", "fatiguées"), False, ANIMATE),
)

BE = Verb(("is", "are"), ("est", "sont"), ANYTHING)
VERBS = (
    Verb(("runs", "run"), ("court", "courent"), ANIMATE),
    Verb(("sings", "sing"), ("chante", "chantent"), ANIMATE),
    Verb(("arrives", "arrive"), ("arrive", "arrivent"), ANIMATE),
    Verb(("sees", "see"), ("voit", "voient"), ANIMATE, ANYTHING),
    Verb(("likes", "like"), ("aime", "aiment"), ANIMATE, ANYTHING, definite=True),
    Verb(("eats", "eat"), ("mange", "mangent"), ANIMATE, frozenset({FOOD})),
    Verb(("buys", "buy"), ("achète", "achètent"), frozenset({PERSON}), THINGS),
    Verb(("reads", "read"), ("lit", "lisent"), frozenset({PERSON}), frozenset({TEXT})),
    Verb(("looks", "look"), ("cherche", "cherchent"), ANIMATE, ANYTHING, particle="for"),
    Verb(("listens", "listen"), ("écoute", "écoutent"), ANIMATE, ANIMATE, particle="to"),
    Verb(("gives", "give"), ("donne", "donnent"), frozenset({PERSON}), THINGS - {PLACE}, ANIMATE),
    Verb(("brings", "bring"), ("apporte", "apportent"), frozenset({PERSON}), THINGS - {PLACE}, ANIMATE),
)

# English preposition: French words, and what may follow. "de" and "à" merge with the article later.
PREPOSITIONS = {
    "in": (("dans",), frozenset({VEHICLE, PLACE})),
    "near": (("près", "de"), ANYTHING - {FOOD, TEXT}),
    "behind": (("derrière",), ANYTHING - {FOOD, TEXT}),
    "with": (("avec",), ANIMATE),
}
# Adverbs stand before the English verb (but after "is") and after the French one.
ADVERBS = {"never": "jamais", "often": "souvent", "always": "toujours"}
CONJUNCTIONS = {"and": ("et",), "but": ("mais",), "when": ("quand",), "because": ("parce", "que")}

# What the grammar writes besides nouns, adjectives, verbs and the tables above.
ENGLISH_FUNCTION_WORDS = ("the", "a", "an", "some", "any", "to", "that", "'s", "'")
FRENCH_FUNCTION_WORDS = (
    *("le", "la", "l'", "les", "un", "une", "des", "de", "d'", "du", "à", "au", "aux"),
    *("ne", "n'", "que", "qu'", "qui"),
)
ELISIONS = {"le": "l'", "la": "l'", "de": "d'", "ne": "n'", "que": "qu'"}
CONTRACTIONS = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}

LinkedWord = tuple[str, tuple[int, ...]]  # a French word and the positions of the English words it renders


def starts_with_vowel(word: str) -> bool:
    """Say whether a French word begins with a vowel sound."""
    return word[0] in VOWELS


def join_sounds(words: list[LinkedWord]) -> list[LinkedWord]:
    """Apply elision ("le homme": "l' homme"), then contraction ("de le garçon": "du garçon").

    A word that absorbs its neighbour keeps the links of both. Elision comes first: "de l' homme" is not
    contracted.

    Parameters
    ----------
    words : list of (str, tuple of int)
        French words in their full forms, with the English positions they render. Not modified.

    Returns
    -------
    list of (str, tuple of int)
        The words as written.
    """
    elided = [
        (ELISIONS[word], links) if word in ELISIONS and starts_with_vowel(follower) else (word, links)
        for (word, links), (follower, _) in pairwise(words)
    ]
    joined: list[LinkedWord] = []
    for word, links in [*elided, words[-1]]:
        contraction = CONTRACTIONS.get((joined[-1][0], word)) if joined else None
        if contraction:
            joined[-1] = (contraction, (*joined[-1][1], *links))
        else:
            joined.append((word, links))
    return joined


def english_words() -> frozenset[str]:
    """Return every English word that the grammar can write."""
    words = {word for noun in NOUNS for word in noun.english}
    words |= {word for verb in (BE, *VERBS) for word in (*verb.english, verb.particle) if word}
    words |= {adjective.english for adjective in ADJECTIVES}
    return frozenset(words.union(PREPOSITIONS, ADVERBS, CONJUNCTIONS, ENGLISH_FUNCTION_WORDS))


def french_words() -> frozenset[str]:
    """Return every French word that the grammar can write."""
    words = {word for noun in NOUNS for word in noun.french}
    words |= {word for verb in (BE, *VERBS) for word in verb.french}
    words |= {word for adjective in ADJECTIVES for word in adjective.french}
    words |= {word for french, _ in PREPOSITIONS.values() for word in french}
    words |= {word for french in CONJUNCTIONS.values() for word in french}
    return frozenset(words.union(ADVERBS.values(), FRENCH_FUNCTION_WORDS))
