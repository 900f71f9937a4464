"""The sentences of which reports and summaries are made, with slots for names and numbers."""

# Slots: capitals stand for names, {n} and {m} for numbers of any size, {s} and {t} for goals, s above t. A
# fact may be told in several ways, and the summary tells it in one.
FACTS = {
    "match": (
        ("{A} met {B} in {C} .", "{B} welcomed {A} in {C} .", "{B} and {A} played in {C} ."),
        (
            "{A} beat {B} {s} to {t} .",
            "{B} lost to {A} {t} to {s} .",
            "{A} won {s} to {t} against {B} .",
            "{B} went down {t} to {s} against {A} .",
        ),
        ("{P} scored the first goal .", "the first goal came from {P} .", "first {P} found the net ."),
    ),
    "storm": (
        (
            "storm {A} reached {B} at night .",
            "{B} was hit by storm {A} .",
            "in {B} storm {A} arrived early .",
        ),
        ("{n} houses had no power .", "power failed in {n} houses .", "no light burned in {n} houses ."),
    ),
    "fire": (
        ("a fire broke out in {B} .", "{B} saw a fire in a factory .", "in {B} a hall caught fire ."),
        (
            "{P} led {n} people to safety .",
            "{n} people owe their lives to {P} .",
            "{P} , a nurse , got {n} people out .",
        ),
    ),
}
# The same facts in other words of the vocabulary, for reports that tell them as no report for training does.
NEW_FACTS = {
    "match": (
        ("{A} welcomed {B} in {C} .", "in {C} {A} played {B} ."),
        ("against {A} {B} lost {t} to {s} .", "{B} lost {t} to {s} to {A} ."),
        ("the net was first found by {P} .", "{P} was first to the net ."),
    ),
    "storm": (
        ("storm {A} came to {B} .", "at night {B} saw storm {A} ."),
        ("{n} houses lost light .", "there was no light in {n} houses ."),
    ),
    "fire": (
        ("there was a fire in {B} .", "fire broke out early in {B} ."),
        ("{n} people were led out by {P} .", "to {P} {n} people owe their lives ."),
    ),
}
SUMMARIES = {
    "match": ("{A} beat {B} {s} to {t} . {P} scored first .", "{A} beat {B} {s} to {t} ."),
    "storm": ("storm {A} hit {B} . {n} houses lost power .", "storm {A} hit {B} ."),
    "fire": ("a fire hit {B} . {P} saved {n} people .", "a fire hit {B} ."),
}
# Sentences that a summary leaves out: they name others ({X}, {Y}, {m}), or the same once more.
FILLERS = {
    "match": (
        "{X} scored the last goal .",
        "the last goal came from {X} .",
        "{X} sat on the bench .",
        "{X} won against {Y} last year .",
        "{m} people had a ticket .",
        "{A} trained in {X} last week .",
        "{B} trained in {X} last week .",
    ),
    "storm": (
        "in {X} the sky stayed clear .",
        "last year storm {X} reached {Y} .",
        "{m} trees fell .",
        "{m} houses stand near the sea .",
        "{A} was its third name .",
        "{X} had sent a warning to {B} .",
    ),
    "fire": (
        "{X} , a driver , saw the smoke .",
        "last year {X} saw a fire too .",
        "the damage is {m} crowns .",
        "{X} led the search in {Y} .",
        "{P} has lived in {X} for years .",
        "{P} was not hurt .",
    ),
}
PLAIN_FILLERS = (
    "the day had begun well .",
    "nobody had expected it .",
    "the police asked for calm .",
    "a reporter was there .",
    "the roads were full .",
    "it was cold .",
    "the school stayed closed .",
    "more will follow .",
)
