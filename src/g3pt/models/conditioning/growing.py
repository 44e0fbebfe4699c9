"""More words for a trained text condition, without a change for the words that it has."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace

import torch

from g3pt.models.car import Car
from g3pt.models.conditioning.text import TextConditionConfig
from g3pt.models.conditioning.vocabulary import collect_vocabulary

EMBEDDING = "conditioner.conditions.text.encoder.embedding"
"""Name of the table of words in a generator."""
MAX_NEW_WORDS = 512
"""Most words that captions may add: they are few beside the words of the weights."""


def missing_words(car: Car, captions: Iterable[str]) -> tuple[str, ...]:
    """Words of captions that the generator cannot read as words, the most frequent first."""
    text = _text(car)
    if text is None:
        return ()
    known = set(text.vocabulary)
    frequent = collect_vocabulary(captions, max_words=MAX_NEW_WORDS + len(known))
    return tuple(word for word in frequent if word not in known)[:MAX_NEW_WORDS]


def with_words(car: Car, words: tuple[str, ...]) -> Car:
    """A copy of a generator that also has these words; every other weight is the same.

    New words come last, so that the ids of the old ones stay. Their embeddings begin at the mean of
    the words that are there.
    """
    text = _text(car)
    if text is None or not words:
        return deepcopy(car)
    grown = replace(text, vocabulary=(*text.vocabulary, *words))
    conditions = tuple(grown if each is text else each for each in car.config.conditions)
    with torch.random.fork_rng(devices=[]):
        larger = Car(replace(car.config, conditions=conditions))
    tensors = dict(car.state_dict())
    name = f"{EMBEDDING}.weight"
    old_RC = tensors[name]
    named_KC = old_RC[-len(text.vocabulary) :] if text.vocabulary else old_RC
    new_KC = named_KC.mean(dim=0, keepdim=True).expand(len(words), -1)
    tensors[name] = torch.cat([old_RC, new_KC])
    larger.load_state_dict(tensors)
    return larger.to(old_RC.device).eval().requires_grad_(False)


def _text(car: Car) -> TextConditionConfig | None:
    found = [each for each in car.config.conditions if isinstance(each, TextConditionConfig)]
    return found[0] if found else None
