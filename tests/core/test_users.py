"""How images fall to users: by choice, by preference, by class, by writer; and that nobody shares an image."""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pictures import make_pictures
from tinytrain_core.errors import TooFewClassesError, TooFewImagesError
from tinytrain_core.fewshot.datasets import ImageClass
from tinytrain_core.fewshot.deals import Deal, preference
from tinytrain_core.fewshot.share import Sharing, UserShare
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.fewshot.users import check_users, user_source
from tinytrain_core.fewshot.writers import WriterDeal

SCHEMES = ("choice", "dirichlet", "by_class", "by_writer")
Images = dict[int, tuple[int, ...]]


def share(users: int, scheme: str, number: int = 0, seed: int = 0, **fields: object) -> UserShare:
    ways = {"min_ways": 3, "max_ways": 4} | {k: v for k, v in fields.items() if k.endswith("ways")}
    rest = {k: v for k, v in fields.items() if not k.endswith("ways")}
    return UserShare(number=number, users=users, seed=seed, sharing=Sharing(scheme=scheme, **rest), **ways)


def alphabets(letters: int = 6, writers: int = 12, images: int = 1) -> tuple[ImageClass, ...]:
    """Three families of classes, each written by so many writers, who are not the same in two families."""
    return tuple(
        ImageClass(f"{family}__{k}", tuple(f"{family}__{k}/{w:02d}.png" for w in range(writers) for _ in range(images)))
        for family in ("greek", "lao", "runes")
        for k in range(letters)
    )


def dealt(classes: tuple[ImageClass, ...], everybody: UserShare, wanted: int = 0) -> list[Images]:
    plan = (WriterDeal if everybody.sharing.scheme == "by_writer" else Deal)(classes, everybody)
    return [plan.images(number, wanted) for number in range(everybody.users)]


@settings(max_examples=40)
@given(scheme=st.sampled_from(SCHEMES), users=st.integers(1, 9), seed=st.integers(0, 99), alpha=st.floats(1e-3, 1e3))
def test_nobody_shares_an_image_and_everybody_has_two_groups_of_each_class(
    scheme: str, users: int, seed: int, alpha: float
) -> None:
    classes = alphabets()
    held: Counter[tuple[int, int]] = Counter()
    for images in dealt(classes, share(users, scheme, seed=seed, alpha=alpha)):
        assert 3 <= len(images) <= 4
        for index, own in images.items():
            assert len({classes[index].groups[i] for i in own}) >= 2
            held.update((index, i) for i in own)
    assert max(held.values()) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_seed_deals_the_same_and_another_does_not(scheme: str) -> None:
    first, again, other = (dealt(alphabets(), share(6, scheme, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_images_of_a_class_fall_to_its_holders(scheme: str) -> None:
    if scheme == "by_writer":
        return  # a user leaves the classes alone that are not theirs, though the writer has written them
    classes = alphabets()
    held: Counter[int] = Counter()
    for images in dealt(classes, share(5, scheme)):
        held.update({index: len(own) for index, own in images.items()})
    assert all(count == classes[index].size for index, count in held.items())


def test_who_prefers_a_class_gets_more_of_it() -> None:
    classes = alphabets(letters=4, writers=200)
    ways = {"min_ways": 4, "max_ways": 4}
    sizes: list[tuple[float, int]] = []
    for n, images in enumerate(dealt(classes, share(12, "dirichlet", alpha=0.1, **ways))):
        preferred = preference(share(12, "dirichlet", n, alpha=0.1, **ways), 4).tolist()
        sizes += zip(preferred, map(len, images.values()), strict=True)
    disliked = [size for preferred, size in sizes if preferred < 0.05]
    assert np.mean([size for preferred, size in sizes if preferred > 0.5]) > 2 * np.mean(disliked)
    assert min(disliked) >= 2
    even = dealt(classes, share(12, "dirichlet", alpha=1e4, **ways))
    holders = Counter(index for images in even for index in images)
    assert all(len(own) == pytest.approx(200 / holders[i], rel=0.1) for images in even for i, own in images.items())


def test_preferences_are_shares_and_the_others_have_none() -> None:
    sizes = [preference(share(9, "dirichlet", n, alpha=0.2), 5).max() for n in range(9)]
    assert all(preference(share(9, "dirichlet", n), 5).sum() == pytest.approx(1) for n in range(9))
    assert np.mean(sizes) > 0.5
    assert preference(share(9, "by_class"), 4).tolist() == [0.25] * 4


def test_specialists_have_classes_that_follow_each_other_in_one_ring() -> None:
    classes = alphabets(letters=10, writers=40)
    chosen = [tuple(images) for images in dealt(classes, share(20, "by_class", seed=3))]
    neighbours: dict[int, set[int]] = {}
    for own in chosen:
        for index in own:
            neighbours.setdefault(index, set()).update(set(own) - {index})
    assert max(map(len, neighbours.values())) <= 6  # three before and three behind, in windows of at most four
    assert any(len({classes[index].family for index in own}) > 1 for own in chosen)


def test_a_user_has_few_writers_of_one_family_and_nobody_else_has_them() -> None:
    classes = alphabets()
    theirs: list[set[tuple[str, str]]] = []
    for images in dealt(classes, share(9, "by_writer")):
        groups = [
            (classes[i].family, PurePosixPath(classes[i].groups[k]).stem) for i, own in images.items() for k in own
        ]
        assert len({family for family, _ in groups}) == 1
        theirs.append(set(groups))
    assert all(len(writers) == 2 for writers in theirs)
    assert len(set().union(*theirs)) == sum(map(len, theirs))


@pytest.mark.parametrize(("wanted", "writers"), [(0, 2), (2, 2), (5, 5), (99, 12)])
def test_writers_are_as_few_as_have_the_images_that_are_wanted(wanted: int, writers: int) -> None:
    (images,) = dealt(alphabets()[:6], share(1, "by_writer"), wanted)
    assert {len(own) for own in images.values()} == {writers}


def test_writers_of_one_class_alone_do_not_stand_in_the_way() -> None:
    everybody, rare = tuple(map(str, range(6))), tuple(map(str, range(20)))
    classes = (*(ImageClass(f"c{k}", everybody) for k in range(4)), ImageClass("rare", rare))
    fleet = dealt(classes, share(3, "by_writer"))
    theirs = [{classes[i].groups[k] for i, own in images.items() for k in own} for images in fleet]
    assert all(len(writers & set(everybody)) == 2 for writers in theirs)
    with pytest.raises(TooFewImagesError, match="20 writers are enough for 3 users"):
        dealt(classes, share(4, "by_writer"))


@pytest.mark.parametrize(
    ("scheme", "users", "words"),
    [
        ("choice", 40, r"after \d+ of 40 users, \d classes have 2 groups of images left, a user needs 3"),
        ("dirichlet", 40, r"after \d+ of 40 users"),
        ("by_class", 40, r"after \d+ of 40 users, \d classes have 2 groups"),
        ("by_writer", 19, r"36 writers are enough for 18 users, each with 2 writers of the same 3 classes; 19 users"),
    ],
)
def test_too_few_images_for_so_many_are_told_in_numbers(scheme: str, users: int, words: str) -> None:
    with pytest.raises(TooFewImagesError, match=words):
        dealt(alphabets(), share(users, scheme))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_glyph_users_write_their_own_whatever_the_scheme(scheme: str) -> None:
    check_users("glyphs", share(100_000, scheme))
    sources = [user_source("glyphs", share(100_000, scheme, number)) for number in (0, 1, 99_999)]
    assert all(3 <= len(source.classes) <= 4 for source in sources)
    assert len({tuple(c.name for c in source.classes) for source in sources}) > 1


def test_one_deal_serves_all_users_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dealt: list[UserShare] = []
    monkeypatch.setattr("tinytrain_core.fewshot.users.Deal", lambda c, share: dealt.append(share) or Deal(c, share))
    folder = str(make_pictures(tmp_path / "d", dict.fromkeys("abcd", 9), side=8))
    everybody = [user_source(folder, share(3, "choice", number)) for number in range(3)]
    assert len(dealt) == 1
    assert len({source.classes for source in everybody}) == 3


def test_a_class_is_dealt_once_and_not_once_a_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, cuts = Deal(alphabets(), share(6, "choice")), []
    split = np.array_split
    monkeypatch.setattr("tinytrain_core.fewshot.deals.np.array_split", lambda *a: cuts.append(a) or split(*a))
    held = [plan.images(number, 0) for number in range(6)]
    assert len(cuts) == len({index for images in held for index in images})


def test_a_folder_is_listed_once_for_all_users_and_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(
        "tinytrain_core.fewshot.users.open_source", lambda data: opened.append(data) or open_source(data)
    )
    folder = make_pictures(tmp_path / "d", dict.fromkeys("abcd", 9), side=8)
    for number in range(3):
        user_source(str(folder), share(3, "choice", number))
    assert len(opened) == 1
    (folder / "a" / "0_new.png").write_bytes((next((folder / "a").iterdir())).read_bytes())
    check_users(str(folder), share(3, "choice"))
    assert len(opened) == 2


def test_a_check_of_users_finds_what_any_user_would(tmp_path: Path) -> None:
    folder = str(make_pictures(tmp_path / "d", dict.fromkeys("abcd", 6), side=8))
    check_users(folder, share(3, "choice"))
    with pytest.raises(TooFewImagesError, match="of 9 users"):
        check_users(folder, share(9, "choice"))
    with pytest.raises(TooFewClassesError, match="needs 5 classes"):
        check_users(folder, share(1, "choice", min_ways=5, max_ways=5))
