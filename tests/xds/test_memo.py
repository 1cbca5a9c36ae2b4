from weft.xds.memo import Memo


def test_an_equal_input_is_not_built_twice() -> None:
    built: list[tuple[int, ...]] = []

    def total(value: tuple[int, ...]) -> int:
        built.append(value)
        return sum(value)

    memo = Memo(total)
    assert [memo("a", (1, 2)), memo("a", tuple(range(1, 3))), memo("b", (1, 2))] == [3, 3, 3]
    assert built == [(1, 2), (1, 2)]


def test_recent_inputs_of_a_label_are_kept_and_older_ones_forgotten() -> None:
    built: list[int] = []
    memo: Memo[int, None] = Memo(built.append, depth=2)
    for value in (1, 2, 1, 2, 3, 2, 1):
        memo("label", value)
    assert built == [1, 2, 3, 1]


def test_labels_are_bounded_and_the_one_unused_for_longest_goes() -> None:
    built: list[str] = []
    memo: Memo[str, None] = Memo(built.append, capacity=2)
    for label in ("a", "b", "a", "c", "a", "b"):
        memo(label, label)
    assert len(memo) == 2
    assert built == ["a", "b", "c", "b"]
