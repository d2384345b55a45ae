"""conformance/studies/learning.py: what no training can change, and the page."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from nlcore.checkpoints.starting_weights import read_source, starting_weights
from nlcore.video.labels import Index
from nlcore_torch.video import Network

STUDIES = Path(__file__).parents[2] / "conformance" / "studies"
DOCS = Path(__file__).parents[2] / "docs"

pytest.importorskip("skimage", reason="films are made of its photographs")
pytest.importorskip("sklearn", reason="films are made of its digits")


@pytest.fixture(scope="module", autouse=True)
def study():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STUDIES)
        yield importlib.import_module("learning")


def of(name):
    return importlib.import_module(f"what_blocks_learn.{name}")


def group(task, seed=0, split="validation"):
    """The films of one group."""
    return of("film_tasks").TASKS[task].group(split, np.random.default_rng(seed))


def test_a_group_has_each_part_with_both_labels():
    films = group("compare")
    m, n = films[0].label, films[1].label
    assert m != n and [film.label for film in films] == [m, n, n, m]
    first, between, second = slice(0, 12), slice(12, 20), slice(20, 32)
    a, b, c, d = (film.frames for film in films)
    assert (a[first] == b[first]).all() and (c[first] == d[first]).all()
    assert (a[second] == c[second]).all() and (b[second] == d[second]).all()
    assert (a[between] == d[between]).all()
    assert (a[first] != c[first]).any() and (a[second] != b[second]).any()


def test_what_is_seen_later_is_elsewhere():
    for seed in range(20):
        frames = group("compare", seed)[0].frames.astype(int)
        changed = [(frames[t] != frames[12]).any(-1) for t in (0, 31)]
        assert changed[0].any() and changed[1].any() and not (changed[0] & changed[1]).any()


def test_a_film_of_move_and_its_reverse_have_the_same_frames_in_their_files(tmp_path):
    films, labels = of("film_files"), of("film_tasks")
    task = replace(labels.TASKS["move"], groups={"training": 1, "validation": 1})
    films.make_films(task, tmp_path, 0)
    index = films.decoded_index(films.index_file(tmp_path, task, "training"))
    left, right = (index.read(number, range(32)) for number in (0, 1))
    assert index.names == ("left", "right") and (left == right[::-1]).all()
    assert (
        (left[::4] == right[::4][::-1]).all()
        and (left[4:] != left[:-4]).any()
        and films.groups_of(index).tolist() == [0, 0]
    )
    before = index.videos
    films.make_films(task, tmp_path, 0)
    assert films.decoded_index(films.index_file(tmp_path, task, "training")).videos == before


def test_a_decoded_index_gives_what_an_index_gives(tmp_path):
    films = of("film_files")
    task = replace(of("film_tasks").TASKS["move"], groups={"training": 1, "validation": 1})
    films.make_films(task, tmp_path, 0)
    decoded = films.decoded_index(films.index_file(tmp_path, task, "training"))
    plain = Index(decoded.format, decoded.names, decoded.root, decoded.videos)
    for read in (decoded, decoded, plain):
        rows = read.read(1, [4, 0], each=lambda frame: frame[0], axis=1)  # (W, T, 3)
        assert (rows == np.swapaxes(plain.read(1, [4, 0])[:, 0], 0, 1)).all()


def test_no_picture_is_in_both_splits():
    used = of("pictures_used")
    assert not set(used.PHOTOGRAPHS["training"]) & set(used.PHOTOGRAPHS["validation"])
    counts = [sum(map(len, used.digits(split))) for split in used.SPLITS]
    assert sum(counts) == 1797 and counts[1] > 500  # all of scikit-learn's


def test_films_of_a_split_are_made_of_its_pictures(monkeypatch):
    tasks, asked = of("film_tasks"), []

    def seen(function):
        return lambda split, *more: asked.append(split) or function(split, *more)

    for name in ("digits", "background"):
        monkeypatch.setattr(tasks, name, seen(getattr(tasks, name)))
    for task in tasks.TASKS:
        for split in of("pictures_used").SPLITS:
            asked.clear()
            group(task, split=split)
            assert len(asked) >= 2 and set(asked) == {split}, task


def test_what_rows_change_in_a_recipe():
    known = of("configurations").BY_NAME
    recipes = {name: known[name].recipe("compare") for name in known}
    assert {n for n, r in recipes.items() if not r.block_identity} == {"nl5_random"}
    assert {n for n, r in recipes.items() if r.iterations != 450} == {"i3d_longer", "nl5_longer"}
    assert {n for n, r in recipes.items() if r.frames != 8} == {"c2d_32", "nl5_32"}


def test_weights_to_start_from_are_those_of_the_first_network(tmp_path):
    conf, trainings = of("configurations"), of("trainings")
    first, _ = starting_weights(conf.first_recipe(), 0)
    trainings.write_start(tmp_path / "start.safetensors", first)
    recipe = conf.BY_NAME["c2d"].recipe("compare")
    weights, _ = starting_weights(recipe, 1, read_source(tmp_path / "start.safetensors"))
    assert all((weights[name] == first[name]).all() for name in weights if "fc" not in name)


def margins(name, task):
    """How much each film of a group prefers its first label to its second, by random weights."""
    spec = of("configurations").spec_of(name, task)
    torch.manual_seed(0)
    network = Network(spec, identity=False, dtype=torch.float64).eval()
    films, labels = group(task), of("film_tasks").TASKS[task].labels
    clips = np.stack([film.frames[::4] for film in films])  # (B, T, H, W, 3)
    x = torch.from_numpy(np.moveaxis(clips, -1, 1) / 128.0 - 1.0)
    with torch.no_grad():
        logits = network(x).numpy()
    one, other = (labels.index(film.label) for film in films[:2])
    return (logits[:, one] - logits[:, other]) / np.abs(logits).max()


def interaction(name, task):
    """How far the preferences of a group of four are from sums."""
    a, b, c, d = margins(name, task)
    return abs(a + d - b - c)


def test_only_networks_that_see_two_frames_can_get_a_group_right():
    """Without: rounding. With: millions of times as much."""
    without = max(interaction(name, "compare") for name in ("c2d", "c2d_pooled", "nl5_space"))
    seeing = min(interaction(name, "compare") for name in ("nl5", "nl5_time", "i3d_3x1x1"))
    assert without < 2.0**-20 * seeing


def test_only_networks_with_order_tell_a_film_from_its_reverse():
    def differs(name):
        right, left = margins(name, "move")
        return abs(right - left)

    blind = max(map(differs, ("c2d", "nl5")))
    seeing = min(map(differs, ("c2d_pooled", "i3d_3x1x1", "nl5_i3d")))
    assert blind < 2.0**-20 * seeing


@pytest.fixture(scope="module")
def small_films(tmp_path_factory):
    """Two indices of a few films of move."""
    films, folder = of("film_files"), tmp_path_factory.mktemp("films")
    task = replace(of("film_tasks").TASKS["move"], groups={"training": 100, "validation": 40})
    films.make_films(task, folder, 0)
    return [films.decoded_index(films.index_file(folder, task, s)) for s in task.groups]


def small_training(name, films, run):
    """The results of a training from random weights, of 4 channels and 24 x 24 pixels."""
    known = of("configurations").BY_NAME[name].recipe("move")
    recipe = replace(
        known,
        network=replace(known.network, width=4),
        **{"jitter": (24, 24), "crop": 24, "test_short_side": 24},
        **{"iterations": 80, "initial": "random", "precise_statistics": 4},
    )
    return of("trainings").trained(recipe, *films, run, seed=0)[0]


def test_a_trained_i3d_knows_the_direction(small_films, tmp_path):
    found = small_training("i3d_3x1x1", small_films, tmp_path / "run")
    lowest = of("intervals").lowest_rate(found["groups_right"], found["groups"], 0.999)
    assert lowest > 0.25  # of a coin
    assert len(found["training"]["loss"]) == 80
    assert found["validation"]["iteration"][-1] == 80


def test_a_trained_c2d_with_blocks_does_not(small_films, tmp_path):
    found = small_training("nl5", small_films, tmp_path / "run")
    assert found["groups_right"] == 0 and 2 * found["right"] == found["films"] == 80


def test_a_group_counts_if_all_of_its_films_are_right():
    groups_right = of("trainings").groups_right
    right = np.array([True, True, False, True, True])
    found = groups_right(right, np.array([7, 3, 3, 7, 1]))
    assert found == {"groups": 3, "groups_right": 2}


def test_the_mean_loss_of_a_sum_is_never_below_that_of_a_coin():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1000, 2)) * 10  # s, t
    margin = first[:, :, None] + second[:, None, :]  # (groups, 2, 2)
    preferred = np.eye(2, dtype=bool)
    losses = np.logaddexp(0, np.where(preferred, -margin, margin))
    assert losses.mean((1, 2)).min() >= math.log(2) - 2.0**-40
    assert not ((margin > 0) == preferred).all((1, 2)).any()


def result(task, name, seed, right, groups_right=0, films=400):
    error = [1 - right / films] * 60
    return {
        **{"task": task, "configuration": name, "seed": seed, "films": films, "right": right},
        **{"groups": 100, "groups_right": groups_right, "loss": 0.5, "seconds": 30.0},
        "training": {"loss": error, "error": error},
        "validation": {"iteration": [30.0, 60.0], "loss": error[:2], "error": error[:2]},
    }


RESULTS = [
    *(result("compare", "c2d", seed, 200 + seed) for seed in range(3)),
    *(result("compare", "nl5", seed, 320 + seed, 50 + seed) for seed in range(3)),
    *(result("compare", "nl5_time", seed, 180 + 5 * (-1) ** seed) for seed in range(3)),
    result("compare", "nl10", 0, 330),
]


def table(lines):
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows[2:]}


def test_means_have_students_interval():
    mean = of("intervals").mean
    found = mean([50.0, 51.0, 53.0])
    assert found.half == pytest.approx(4.302653 * 1.527525 / 3**0.5, rel=1e-6)  # t of 2 degrees
    assert mean([1.0, 1.0]).half == 0 and math.isnan(mean([1.0]).half)


def test_a_row_beside_the_papers_has_its_difference_and_verdict():
    page, tables = of("page"), {t.name: t for t in of("paper_tables").TABLES}
    rows = table(page.beside_paper(tables["2d"], RESULTS))
    assert rows["C2D"] == ["71.8", "50.2 ± 0.6", "0.0 ± 0.0", "0 of 3", "", ""]
    assert rows["NL C2D, 5 blocks"] == [
        *("73.8", "80.2 ± 0.6", "51.0 ± 2.5", "3 of 3", "+30.0 ± 0.0", "yes"),
    ]
    assert rows["NL C2D, 5 blocks, space"] == ["72.9", *["not run"] * 4, ""]
    assert rows["NL C2D, 5 blocks, time"][-1] == "no, the other way"
    rows = table(page.beside_paper(tables["2c"], RESULTS))
    assert rows["NL C2D, 10 blocks"] == [
        "74.3",
        "82.5 (1 seed)",
        "0.0 (1 seed)",
        "0 of 1",
        "+32.5 (1 seed)",
        "",
    ]


def test_seeds_above_a_coin_are_counted_by_an_exact_bound():
    """By chance, 15 of 100 groups or more have a probability of 0.0014, and 17 of 0.0002."""
    seeds = [result("compare", "c2d", n, 300, right) for n, right in enumerate([15, 17, 60])]
    assert of("page").better_than_a_coin(seeds, "compare", "c2d", 0.0625) == "2 of 3"


def test_a_claim_is_confirmed_by_its_whole_interval():
    rows = table(of("claims").claims_table(RESULTS))
    assert rows["C2D gets no group of *compare* right"][1:] == ["0.0 ± 0.0", "yes"]
    assert rows["C2D gets no group of *move* right"][1:] == ["not run", ""]
    coin = "NL C2D, 5 blocks gets more groups of *compare* right than a coin, 6.25%"
    assert rows[coin][1:] == ["51.0 ± 2.5", "yes"]
    wide = [dict(r, groups_right=10 * r["seed"]) for r in RESULTS]  # 10 ± 25
    assert table(of("claims").claims_table(wide))[coin][1] == "10.0 ± 24.8"
    assert table(of("claims").claims_table(wide))[coin][2] == "**no**"
    worse = [dict(r, groups_right=3) for r in RESULTS]
    assert table(of("claims").claims_table(worse))[coin][1:] == ["3.0 ± 0.0", "**no**"]


def test_the_page_has_the_numbers_of_its_csv_file():
    page = (DOCS / "evidence.md").read_text("utf-8")
    results = of("results").read_csv(DOCS / "evidence.csv")
    other = [
        of("results").read_csv(DOCS / f"evidence_{name}.csv") for name in ("weights", "colours")
    ]
    assert of("page").with_tables(page, results, *other) == page
    with pytest.raises(ValueError, match="must have the markers <!-- table claims -->"):
        of("page").with_tables(page.replace("table claims", "table"), results, *other)


def test_the_csv_file_keeps_what_the_tables_need(tmp_path):
    results = of("results")
    results.write_csv(tmp_path / "a.csv", RESULTS)
    page = (DOCS / "evidence.md").read_text("utf-8")
    read = results.read_csv(tmp_path / "a.csv")
    with_tables = of("page").with_tables
    assert with_tables(page, read, [], []) == with_tables(page, RESULTS, [], [])


def test_quoted_accuracies_are_those_of_the_page_of_results():
    text = (DOCS / "paper_results.md").read_text("utf-8")
    for paper in of("paper_tables").TABLES:
        section = text.split(f"## {paper.name}. ")[1].split("\n## ")[0]
        quoted = {number for number in paper.rows.values() if number}
        section = section if paper.name != "2e" else text  # whose table has costs
        assert quoted and all(number in section for number in quoted), paper.name


def test_a_look_is_from_the_second_digit_to_the_first():
    clip = np.zeros((8, 40, 40, 3), np.uint8)
    clip[0:3, 8:16, 17:23] = 200  # rows of one position, columns of one
    clip[5:8, 20:28, 4:6] = 200  # rows of two positions
    look = of("looking").look_at(clip)
    assert look.position == (6, 2, 0)
    assert np.argwhere(look.first).tolist() == [[t, 1, 2] for t in (0, 1, 2)]
    assert np.argwhere(look.second).tolist() == [[t, y, 0] for t in (5, 6, 7) for y in (2, 3)]


def test_weights_that_are_all_equal_have_the_share_of_chance(tmp_path):
    looking, films, trainings = (of(name) for name in ("looking", "film_files", "trainings"))
    place, task = trainings.Place(tmp_path), of("film_tasks").TASKS["compare"]
    films.make_films(replace(task, groups={"training": 1, "validation": 2}), place.films, 0)
    first, _ = starting_weights(of("configurations").first_recipe(), 0)
    trainings.write_start(place.start(0), first)
    recipe = of("configurations").BY_NAME["nl1_res3"].recipe("compare")
    weights, _ = starting_weights(recipe, 0, read_source(place.start(0)))
    equal = {name: 0 * value if "theta" in name else value for name, value in weights.items()}
    (tmp_path / "weights").mkdir()
    training = trainings.Training("compare", "nl1_res3", 0)
    save_file(equal, place.weights(training))
    index = films.decoded_index(looking.validation_file(place))
    found = looking.shares(place, training, index)
    assert found["first"] == pytest.approx(found["by_chance"], rel=1e-5)
    assert 0 < found["by_chance"] < 0.2
    assert abs(found["before"] / found["by_chance"] - 1) > 1e-3
    of("results").write_rows(tmp_path / "a.csv", [found])
    (read,) = of("results").read_csv(tmp_path / "a.csv")
    assert read == pytest.approx(found, abs=5e-6)


def test_groups_are_counted_by_their_colours(tmp_path, monkeypatch):
    """A network that knows red and blue only, whose other answers are all the same."""
    networks, tasks, films = (of(n) for n in ("trained_networks", "film_tasks", "film_files"))
    task = replace(tasks.TASKS["compare"], groups={"training": 1, "validation": 12})
    films.make_films(task, tmp_path, 3)
    index = films.decoded_index(films.index_file(tmp_path, task, "validation"))
    training = of("trainings").Training("compare", "nl5", 4)

    class Knowing(torch.nn.Module):
        def forward(self, x):
            """Clips (B, 3, T, H, W) -> (B, 2)."""
            seen = torch.stack([x[:, :, 1], x[:, :, 6]]).amax((-2, -1))  # (2, B, 3)
            red, blue = seen.argmax(2) == 0, seen.argmax(2) == 2
            known = (red | blue).all(0) & (seen[..., 1].amax(0) < 0.5)  # not yellow, nor green
            same = (~known) | (red[0] == red[1])
            return torch.stack([~same, same], 1).double()

    monkeypatch.setattr(networks, "trained_network", lambda *_: Knowing())
    rows = list(networks.by_colours(None, training, index, 3))
    assert sum(row["groups"] for row in rows) == 12 and len(rows) > 2
    solved = {row["colours"]: row["groups_right"] for row in rows if row["groups_right"]}
    (groups,) = (row["groups"] for row in rows if row["colours"] == "blue and red")
    assert solved == {"blue and red": groups}


def test_the_seed_that_is_drawn_has_most_films_right():
    name = of("looking").DRAWN
    rows = [result("compare", name, seed, right) for seed, right in enumerate([300, 390, 310])]
    assert of("looking").best_seed([*rows, result("compare", "nl10", 3, 400)]) == 1


def test_curves_have_means_and_halves_of_their_intervals(tmp_path):
    runs = [dict(result("compare", "c2d", seed, 200), training={}) for seed in range(3)]
    for seed, run in enumerate(runs):
        run["training"]["error"] = [0.5] * 50 + [0.1 * seed] * 25
    of("drawing").write_curves(tmp_path / "curves.csv", runs)
    rows = (tmp_path / "curves.csv").read_text().split()
    assert rows[1:4] == [
        "compare,c2d,training,25,50.00,0.00,3",
        "compare,c2d,training,50,50.00,0.00,3",
        "compare,c2d,training,75,10.00,24.84,3",
    ]


def test_trainings_are_skipped_if_their_results_are_there(study, tmp_path):
    """Nothing else is started, since no first weights are there."""
    many, place = of("many_trainings"), of("trainings").Place(tmp_path)
    wanted = many.trainings(2)
    assert len({t.name for t in wanted}) == len(wanted) == 2 + 2 * 37
    (tmp_path / "results").mkdir()
    for training in wanted[:2]:
        place.result(training).write_text("{}")
    assert list(many.carry_out_all(place, wanted, 1, until=math.inf)) == []
    done = CliRunner().invoke(
        study.app, ["run", "--folder", str(tmp_path), "--seeds", "2", "--dry"]
    )
    assert done.exit_code == 0 and "still-c2d" not in done.output
    assert len(done.stdout.split()) == 74
