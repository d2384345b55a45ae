"""Work in processes, one of which crashes."""

from workers import squared

from nlcore.video.labels.pool import results


def test_a_crash_costs_one_result():
    tasks = [1, 2, 13, *range(3, 10)]
    found = dict(results(squared, tasks, 2))
    assert found == {task: None if task == 13 else task**2 for task in tasks}


def test_no_process():
    assert list(results(squared, [3, 1], 0)) == [(3, 9), (1, 1)]
    assert list(results(squared, [], 2)) == []
