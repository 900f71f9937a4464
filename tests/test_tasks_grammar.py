"""The grammar: hand-written translations, then thousands of random ones through two independent parsers.

The English parser rebuilds the plan from the words alone, so a right answer is a function of the English
text. The French parser knows agreement, elision, contraction and negation from its own lexicon.
"""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from attncourse.tasks._french import ADJECTIVES, BE, NOUNS, PREPOSITIONS, VERBS, join_sounds
from attncourse.tasks._plans import Clause, NounPhrase
from attncourse.tasks.grammar import GrammarTask, write

# English singular and plural, French singular and plural, gender.
NOUN_TABLE = """
boy boys garçon garçons m / girl girls fille filles f / man men homme hommes m / woman women femme femmes f
child children enfant enfants m / actress actresses actrice actrices f / dog dogs chien chiens m
cat cats chat chats m / cow cows vache vaches f / bird birds oiseau oiseaux m / apple apples pomme pommes f
cake cakes gâteau gâteaux m / egg eggs œuf œufs m / book books livre livres m
letter letters lettre lettres f / car cars voiture voitures f
house houses maison maisons f / garden gardens jardin jardins m
hotel hotels hôtel hôtels m / school schools école écoles f
"""
# English, French masculine, before a vowel, feminine, plural masculine, plural feminine.
BEFORE_TABLE = """
small petit petit petite petits petites / big grand grand grande grands grandes
old vieux vieil vieille vieux vieilles / new nouveau nouvel nouvelle nouveaux nouvelles
beautiful beau bel belle beaux belles / young jeune jeune jeune jeunes jeunes
"""
AFTER_TABLE = """
red rouge rouge rouge rouges rouges / green vert vert verte verts vertes / black noir noir noire noirs noires
French français français française français françaises / happy heureux heureux heureuse heureux heureuses
tired fatigué fatigué fatiguée fatigués fatiguées
"""
# English singular and plural, French singular and plural, number of objects.
VERB_TABLE = """
runs run court courent 0 / sings sing chante chantent 0 / arrives arrive arrive arrivent 0
sees see voit voient 1 / likes like aime aiment 1 / eats eat mange mangent 1 / buys buy achète achètent 1
reads read lit lisent 1 / looks look cherche cherchent 1 / listens listen écoute écoutent 1
gives give donne donnent 2 / brings bring apporte apportent 2
"""
VOWEL_TABLE = """
homme hommes enfant enfants actrice actrices oiseau oiseaux œuf œufs hôtel hôtels école écoles
aime aiment arrive arrivent achète achètent écoute écoutent apporte apportent un une est
"""


def rows(table):
    return [row.split() for line in table.strip().splitlines() for row in line.split(" / ")]


WITH_VOWEL = {form for row in rows(VOWEL_TABLE) for form in row}
FRENCH_NOUNS = {
    form: (gender, number)
    for _, _, one, many, gender in rows(NOUN_TABLE)
    for form, number in ((one, 0), (many, 1))
}
FRENCH_VERBS = {
    form: (number, int(objects))
    for _, _, one, many, objects in rows(VERB_TABLE)
    for form, number in ((one, 0), (many, 1))
} | {"est": (0, 0), "sont": (1, 0)}


def adjective_forms(table):
    """Return form: the genders and numbers, and whether a vowel follows, that it may stand for."""
    forms = {}
    for _, masculine, vowel, feminine, masculines, feminines in rows(table):
        consonant_only = {False} if vowel != masculine else {False, True}
        forms.setdefault(masculine, set()).update(("m", 0, follows) for follows in consonant_only)
        forms.setdefault(vowel, set()).add(("m", 0, True))
        for follows in (False, True):
            forms.setdefault(feminine, set()).add(("f", 0, follows))
            forms.setdefault(masculines, set()).add(("m", 1, follows))
            forms.setdefault(feminines, set()).add(("f", 1, follows))
    return forms


FRENCH_BEFORE, FRENCH_AFTER = adjective_forms(BEFORE_TABLE), adjective_forms(AFTER_TABLE)


class French:
    """Read a French sentence and stop at the first mistake."""

    def __init__(self, words):
        self.words = list(words)
        self.place = 0
        for word, follower in pairwise(words):
            if word in {"l'", "d'", "n'", "qu'"}:
                assert follower in WITH_VOWEL, (word, follower)
            if word in {"le", "la", "de", "ne", "que"}:
                assert follower not in WITH_VOWEL, (word, follower)
            assert (word, follower) not in {("de", "le"), ("de", "les"), ("à", "le"), ("à", "les")}
        self.clause()
        while self.place < len(words):
            if self.take("parce"):
                assert self.take("que", "qu'")
            else:
                assert self.take("et", "mais", "quand"), self.words[self.place :]
            self.clause()

    def next(self):
        return self.words[self.place] if self.place < len(self.words) else ""

    def take(self, *choices):
        if self.next() in choices:
            self.place += 1
            return self.words[self.place - 1]
        return ""

    def noun_phrase(self, *, article="", negated=False, nested=False):
        """Read a phrase; ``article`` is one that a contraction has already named."""
        article = article or self.take("le", "la", "l'", "les", "un", "une", "des", "de", "d'")
        assert article, self.words[self.place :]
        before = self.take(*FRENCH_BEFORE)
        noun = self.take(*FRENCH_NOUNS)
        gender, number = FRENCH_NOUNS[noun]
        allowed = {
            ("m", 0): {"le", "l'", "un"},
            ("f", 0): {"la", "l'", "une"},
            ("m", 1): {"les", "des"},
            ("f", 1): {"les", "des"},
        }[gender, number]
        if negated:
            allowed = (allowed - {"un", "une", "des"}) | {"de", "d'"}
        elif number and before:
            allowed = {"les", "de"}
        assert article in allowed, (article, before, noun, negated)
        if before:
            assert (gender, number, noun in WITH_VOWEL) in FRENCH_BEFORE[before], (before, noun)
        after = self.take(*FRENCH_AFTER)
        if after:
            assert (gender, number, False) in FRENCH_AFTER[after], (noun, after)
        if self.next() in {"de", "d'", "du", "des"}:
            assert not nested
            self.after_de(definite_plural=True)
        elif self.take("qui"):
            self.clause(subject=(gender, number))
        elif self.take("que", "qu'"):
            self.clause(without_object=True)
        return gender, number

    def after_de(self, *, definite_plural):
        """Read "de" in any shape and the phrase it governs."""
        word = self.take("de", "d'", "du", "des")
        assert word
        inner = {"du": "le", "des": "les"}.get(word, "")
        if not inner:
            assert self.next() in {"la", "l'", "un", "une"}
        gender, number = self.noun_phrase(article=inner, nested=definite_plural)
        if word == "du":
            assert (gender, number) == ("m", 0)

    def clause(self, *, subject=None, without_object=False):
        gender, number = subject or self.noun_phrase()
        negated = bool(self.take("ne", "n'"))
        verb = self.take(*FRENCH_VERBS)
        assert verb, self.words[self.place :]
        verb_number, n_objects = FRENCH_VERBS[verb]
        assert verb_number == number, (number, verb)
        assert bool(self.take("jamais")) == negated
        self.take("souvent", "toujours")
        if verb in {"est", "sont"}:
            word = self.take(*FRENCH_BEFORE, *FRENCH_AFTER)
            assert (gender, number, False) in (FRENCH_BEFORE | FRENCH_AFTER)[word], (gender, number, word)
            return
        if n_objects and not without_object:
            self.noun_phrase(negated=negated)
        if n_objects == 2:
            contraction = {"au": "le", "aux": "les"}.get(self.take("au", "aux"), "")
            assert contraction or self.take("à")
            self.noun_phrase(article=contraction)
        if self.take("près"):
            self.after_de(definite_plural=False)
        elif self.take("dans", "derrière", "avec"):
            self.noun_phrase()


class English:
    """Read an English sentence and rebuild its plan, from the words alone."""

    def __init__(self, words):
        self.words = list(words)
        self.place = 0
        self.clauses = [self.clause()]
        while self.place < len(words):
            conjunction = self.take("and", "but", "when", "because")
            assert conjunction, self.words[self.place :]
            self.clauses.append(self.clause())
            self.clauses[-1].conjunction = conjunction

    next, take = French.next, French.take

    def described_noun(self):
        """Return a phrase without its article, and the first word after the article."""
        first = self.next()
        before = after = None
        while word := self.take(*(adjective.english for adjective in ADJECTIVES)):
            adjective = next(adjective for adjective in ADJECTIVES if adjective.english == word)
            if adjective.before:
                assert not before
                assert not after
                before = adjective
            else:
                assert not after
                after = adjective
        word = self.take(*(form for noun in NOUNS for form in noun.english))
        noun = next(noun for noun in NOUNS if word in noun.english)
        return NounPhrase(noun, word == noun.english[1], False, before, after), first

    def noun_phrase(self, *, negated=False):
        article = self.take("the", "a", "an", "some", "any")
        phrase, first = self.described_noun()
        phrase.definite = article == "the"
        if article in {"a", "an"}:
            assert not phrase.plural
            assert (article == "an") == (first[0] in "aeiou")
        if article in {"some", "any"}:
            assert phrase.plural
            assert (article == "any") == negated
        if mark := self.take("'s", "'"):
            ends_in_s = phrase.noun.english[phrase.plural].endswith("s")
            assert (mark == "'") == (phrase.plural and ends_in_s)
            possessor = phrase
            phrase, _ = self.described_noun()
            phrase.possessor = possessor
        if self.take("that"):
            assert not phrase.possessor
            phrase.relative = self.clause(head=phrase)
        return phrase

    def clause(self, *, head=None):
        subject = self.noun_phrase() if self.next() in {"the", "a", "an", "some"} else None
        number = (subject or head).plural
        if verb := self.take("is", "are"):
            assert verb == ("is", "are")[number]
            adverb = self.take("never", "often", "always")
            word = self.take(*(adjective.english for adjective in ADJECTIVES))
            predicate = next(adjective for adjective in ADJECTIVES if adjective.english == word)
            return Clause(BE, subject, predicate=predicate, adverb=adverb)
        adverb = self.take("never", "often", "always")
        word = self.take(*(verb.english[number] for verb in VERBS))
        assert word, self.words[self.place :]
        clause = Clause(next(verb for verb in VERBS if verb.english[number] == word), subject, adverb=adverb)
        if clause.verb.particle:
            assert self.take(clause.verb.particle)
        if clause.verb.objects and not (head and subject):
            clause.thing = self.noun_phrase(negated=adverb == "never")
        if clause.verb.recipients:
            assert self.take("to")
            clause.recipient = self.noun_phrase()
        # "the cake that the cat never sees in some houses": behind "never" only an outer clause says "some".
        # To which clause a place belongs never matters to the French words.
        if not (adverb == "never" and self.words[self.place + 1 : self.place + 2] == ["some"]):
            clause.preposition = self.take(*PREPOSITIONS)
        if clause.preposition:
            clause.place = self.noun_phrase()
        return clause


def translate(english):
    """Return the pair whose English side is the text, through this file's own parser."""
    return write(English(english.split()).clauses)


TRANSLATIONS = {
    # articles, gender and number
    "the boy sees a house": "le garçon voit une maison",
    "a girl reads the book": "une fille lit le livre",
    "the cows eat some cakes": "les vaches mangent des gâteaux",
    "some dogs see the birds": "des chiens voient les oiseaux",
    # elision of le and la, before vowels and mute h
    "the man buys the hotel": "l' homme achète l' hôtel",
    "the actress sees the school": "l' actrice voit l' école",
    "the old man sees the small bird": "le vieil homme voit le petit oiseau",
    # adjectives after the noun, and before it with their vowel forms
    "the red car is small": "la voiture rouge est petite",
    "a big black dog runs": "un grand chien noir court",
    "a beautiful bird sings": "un bel oiseau chante",
    "a beautiful dog sings": "un beau chien chante",
    "a new French hotel is red": "un nouvel hôtel français est rouge",
    "the new school is green": "la nouvelle école est verte",
    "the old women are happy": "les vieilles femmes sont heureuses",
    "the young girls are tired": "les jeunes filles sont fatiguées",
    "the old man is old": "le vieil homme est vieux",
    # des becomes de before a plural adjective, but not before the noun
    "some small cats run": "de petits chats courent",
    "some black cats run": "des chats noirs courent",
    "some beautiful boys read some new letters": "de beaux garçons lisent de nouvelles lettres",
    # never: ne … jamais, de instead of un, une, des in the object only
    "the cat never eats an apple": "le chat ne mange jamais de pomme",
    "the cat never eats the apple": "le chat ne mange jamais la pomme",
    "the girls never see any birds": "les filles ne voient jamais d' oiseaux",
    "a man never buys any old cars": "un homme n' achète jamais de vieilles voitures",
    "the house is never red": "la maison n' est jamais rouge",
    "the boy never gives a cake to a dog": "le garçon ne donne jamais de gâteau à un chien",
    "the actress never arrives with a child": "l' actrice n' arrive jamais avec un enfant",
    # other adverbs
    "the birds often sing": "les oiseaux chantent souvent",
    "the car is always green": "la voiture est toujours verte",
    # à and de with their articles
    "a girl gives the egg to the boy": "une fille donne l' œuf au garçon",
    "a girl gives some eggs to the dogs": "une fille donne des œufs aux chiens",
    "the boy brings a letter to the man": "le garçon apporte une lettre à l' homme",
    "the boy brings a letter to the woman": "le garçon apporte une lettre à la femme",
    "the men bring the books to some young children": "les hommes apportent les livres à de jeunes enfants",
    "the dog runs near the garden": "le chien court près du jardin",
    "the dog runs near the hotel": "le chien court près de l' hôtel",
    "the dog runs near the school": "le chien court près de l' école",
    "the dog runs near the houses": "le chien court près des maisons",
    "the dog runs near a house": "le chien court près d' une maison",
    "the dog runs behind some cars": "le chien court derrière des voitures",
    # possessors
    "the boy 's red car is old": "la voiture rouge du garçon est vieille",
    "the girls ' dog runs": "le chien des filles court",
    "the children 's cat sings": "le chat des enfants chante",
    "the actress 's hotel is beautiful": "l' hôtel de l' actrice est beau",
    "a man buys a woman 's old house": "un homme achète la vieille maison d' une femme",
    "the cow runs near the man 's garden": "la vache court près du jardin de l' homme",
    # two English words, one French word
    "the old man looks for a child": "le vieil homme cherche un enfant",
    "the man never listens to the birds": "l' homme n' écoute jamais les oiseaux",
    # relative clauses: qui and que, agreement with the noun they describe
    "the girls that sing see the house that is red": "les filles qui chantent voient la maison qui est rouge",
    "the cake that the boy eats is green": "le gâteau que le garçon mange est vert",
    "the cake that a boy never eats is green": "le gâteau qu' un garçon ne mange jamais est vert",
    "the cat that the girl looks for never runs": "le chat que la fille cherche ne court jamais",
    "a dog sees the egg that the man gives to a bird": "un chien voit l' œuf que l' homme donne à un oiseau",
    # conjunctions
    "the cat runs and the girls sing": "le chat court et les filles chantent",
    "the boy sings because the man arrives": "le garçon chante parce que l' homme arrive",
    "the boy sings because a dog never runs": "le garçon chante parce qu' un chien ne court jamais",
    "a boy sings but a cat runs when a dog runs": "un garçon chante mais un chat court quand un chien court",
}
PAIRS = [
    *GrammarTask().sample_pairs(3000, np.random.default_rng(11)),
    *GrammarTask(12, 30).sample_pairs(2000, np.random.default_rng(12)),
]


@pytest.mark.parametrize(("english", "french"), TRANSLATIONS.items(), ids=list(TRANSLATIONS))
def test_translations_by_hand(english, french):
    pair = translate(english)
    assert " ".join(pair.source) == english
    assert " ".join(pair.target) == french
    French(pair.target)


@pytest.mark.properties
def test_random_french_is_grammatical():
    for pair in PAIRS:
        French(pair.target)


@pytest.mark.properties
def test_the_english_text_alone_decides_the_translation():
    for pair in PAIRS:
        assert write(English(pair.source).clauses) == pair


@pytest.mark.parametrize(
    "wrong",
    [
        "la garçon court",
        "le homme court",
        "l' garçon court",
        "le garçon courent",
        "le garçon chante et les filles chante",
        "un vieux homme court",
        "un vieil garçon court",
        "des petits chats courent",
        "de chats courent",
        "le chat ne mange jamais une pomme",
        "le chat ne mange la pomme",
        "le chat mange jamais la pomme",
        "le chat ne aime jamais la pomme",
        "la maison est vert",
        "la voiture vert court",
        "le chien court près de le jardin",
        "le chien court près de jardin",
        "le garçon donne la pomme à le chien",
        "le garçon donne la pomme aux chien",
        "le gâteau que un garçon mange est vert",
        "les filles qui chante voient la maison",
        "le garçon que court voit la maison",
    ],
)
def test_the_french_parser_does_find_mistakes(wrong):
    with pytest.raises((AssertionError, KeyError)):
        French(wrong.split())


@pytest.mark.parametrize(
    ("english", "links"),
    [
        # le garçon achète une voiture rouge
        ("the boy buys a red car", {(0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (5, 4)}),
        # l' homme n' achète jamais de voiture
        ("the man never buys a car", {(0, 0), (1, 1), (2, 2), (3, 3), (4, 2), (5, 4), (6, 5)}),
        # le chat n' est jamais noir
        ("the cat is never black", {(0, 0), (1, 1), (2, 3), (3, 2), (4, 3), (5, 4)}),
        # le petit chat du garçon chante: the first article has no counterpart
        ("the boy 's small cat sings", {(1, 3), (2, 4), (3, 0), (3, 2), (4, 1), (5, 5)}),
        # le chat d' une fille chante
        ("a girl 's cat sings", {(1, 3), (2, 2), (3, 0), (4, 1), (5, 4)}),
        # la fille cherche le chien
        ("the girl looks for the dog", {(0, 0), (1, 1), (2, 2), (2, 3), (3, 4), (4, 5)}),
        # le chien court près du jardin
        ("the dog runs near the garden", {(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (4, 4), (5, 5)}),
        # le chien court près du jardin du garçon: "du" near, and "du" of the boy
        (
            "the dog runs near the boy 's garden",
            {(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 7), (6, 4), (6, 6), (7, 5)},
        ),
        # une fille donne un œuf aux chiens
        ("a girl gives an egg to the dogs", {(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (5, 6), (6, 7)}),
        # le garçon chante parce qu' un chien court
        (
            "the boy sings because a dog runs",
            {(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 6)},
        ),
        # le gâteau que le garçon mange est vert
        ("the cake that the boy eats is green", {(place, place) for place in range(8)}),
    ],
)
def test_links_by_hand(english, links):
    assert translate(english).links == links


def dictionary():
    """Return English word: the French words that may render it."""
    words = {
        **{"the": "le la l' les du des au aux", "a": "un une de d'", "an": "un une de d'", "some": "des de"},
        **{
            "any": "de d'",
            "to": "à au aux écoute écoutent",
            "for": "cherche cherchent",
            "that": "qui que qu'",
        },
        **{"'s": "de d' du des", "'": "de d' du des", "is": "est", "are": "sont", "and": "et", "but": "mais"},
        **{"when": "quand", "because": "parce que qu'", "never": "ne n' jamais", "often": "souvent"},
        **{
            "always": "toujours",
            "in": "dans",
            "near": "près de d' du des",
            "behind": "derrière",
            "with": "avec",
        },
    }
    words = {english: set(french.split()) for english, french in words.items()}
    for one, many, french_one, french_many, _ in [*rows(NOUN_TABLE), *rows(VERB_TABLE)]:
        words |= {one: {french_one}, many: {french_many}}
    for english, *forms in [*rows(BEFORE_TABLE), *rows(AFTER_TABLE)]:
        words[english] = set(forms)
    return words


@pytest.mark.properties
def test_links_join_words_that_translate_each_other():
    words = dictionary()
    for pair in PAIRS:
        for row, column in pair.links:
            assert pair.target[row] in words[pair.source[column]], (pair.target[row], pair.source[column])
        assert {column for _, column in pair.links} == set(range(len(pair.source)))
        unlinked = set(range(len(pair.target))) - {row for row, _ in pair.links}
        assert {pair.target[row] for row in unlinked} <= {"le", "la", "l'", "les"}
        # One article without a link for each possessor, unless "du" or "aux" has taken it in.
        marks = sum(word in {"'s", "'"} for word in pair.source)
        assert len(unlinked) <= marks
        for column, word in enumerate(pair.source):
            rendered = sorted(pair.target[row] for row, place in pair.links if place == column)
            if word == "never":
                assert rendered in (["jamais", "ne"], ["jamais", "n'"])
            elif word in {"near", "because"}:
                assert len(rendered) == 2
            else:
                assert len(rendered) == 1


def crosses(pair):
    links = sorted(pair.links)
    return any(a[0] < b[0] and a[1] > b[1] for number, a in enumerate(links) for b in links[number:])


def test_most_sentences_change_the_order_of_words():
    share = np.mean([crosses(pair) for pair in GrammarTask().sample_pairs(4000, np.random.default_rng(1))])
    assert 0.8 < share < 0.9


@pytest.mark.parametrize(("shortest", "longest"), [(4, 11), (4, 4), (5, 5), (10, 25), (30, 30)])
def test_lengths_are_uniform(shortest, longest):
    pairs = GrammarTask(shortest, longest).sample_pairs(2000, np.random.default_rng(2))
    counts = Counter(len(pair.source) for pair in pairs)
    assert set(counts) == set(range(shortest, longest + 1))
    mean = 2000 / len(counts)
    assert max(abs(count - mean) for count in counts.values()) <= 5 * mean**0.5


def test_there_are_many_sentences():
    assert (
        len({pair.source for pair in GrammarTask().sample_pairs(12_000, np.random.default_rng(3))}) > 10_000
    )


@pytest.mark.parametrize("longest", [11, 25])
def test_the_vocabularies_are_closed_and_wholly_used_in_training(longest):
    source, target = GrammarTask(4, longest).vocabularies()
    train, _ = GrammarTask(4, longest).split_pairs(4000, 100, np.random.default_rng(4))
    assert {word for pair in train for word in pair.source} == set(source.tokens[3:])
    assert {word for pair in train for word in pair.target} == set(target.tokens[3:])


@pytest.mark.properties
@pytest.mark.parametrize(("shortest", "longest", "seed"), [(4, 4, 0), (4, 5, 1), (4, 11, 2), (6, 20, 3)])
def test_sides_of_a_split_share_no_sentence(shortest, longest, seed):
    train, held_out = GrammarTask(shortest, longest).split_pairs(700, 130, np.random.default_rng(seed))
    assert (len(train), len(held_out)) == (700, 130)
    assert len({pair.source for pair in held_out}) == 130
    assert {pair.source for pair in train}.isdisjoint({pair.source for pair in held_out})


def test_the_generator_alone_decides():
    task = GrammarTask()
    draws = [task.sample_pairs(50, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    splits = [task.split_pairs(50, 7, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for first, again, other in (draws, splits):
        assert first == again
        assert first != other


def test_joining_sounds_leaves_its_input_alone():
    words = [("de", (0,)), ("le", (1,)), ("garçon", (2,)), ("que", (3,)), ("un", (4,))]
    before = list(words)
    assert join_sounds(words) == [("du", (0, 1)), ("garçon", (2,)), ("qu'", (3,)), ("un", (4,))]
    assert words == before


@pytest.mark.parametrize(
    ("lengths", "error", "text"),
    [
        ((3,), ValueError, "min_words must be at least 4, got min_words=3"),
        ((4, 31), ValueError, "max_words must be at most 30, got max_words=31"),
        ((9, 8), ValueError, "max_words must be at least min_words, got max_words=8, min_words=9"),
        ((4.0,), TypeError, "min_words must be an integer, got min_words=4.0"),
        ((4, True), TypeError, "max_words must be an integer, got max_words=True"),
    ],
)
def test_bad_tasks_are_refused(lengths, error, text):
    with pytest.raises(error, match=f"^{text}$"):
        GrammarTask(*lengths)


def test_bad_draws_are_refused():
    task, rng = GrammarTask(), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"^n_pairs must be at least 1, got n_pairs=0$"):
        task.sample_pairs(0, rng)
    with pytest.raises(ValueError, match=r"^n_train must be at least 1, got n_train=0$"):
        task.split_pairs(0, 1, rng)
    with pytest.raises(TypeError, match=r"^n_held_out must be an integer, got n_held_out=1.5$"):
        task.split_pairs(1, 1.5, rng)


def test_a_split_of_too_few_sentences_is_refused():
    text = (
        r"^n_held_out must leave sentences for training, got n_held_out=9000 with \d+ different ones found$"
    )
    with pytest.raises(ValueError, match=text):
        GrammarTask(4, 4).split_pairs(1, 9000, np.random.default_rng(0))


def test_tasks_do_not_change_and_compare_by_value():
    assert GrammarTask() == GrammarTask(4, 11)
    with pytest.raises(AttributeError):
        GrammarTask().min_words = 5
