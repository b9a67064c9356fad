"""Records that were sent twice: docs/explanation/duplicates.md."""


class RecentIds:
    """The ids of a partition, each with its last record: the offset, and the latest observed time after it."""

    def __init__(self, within):
        self.step = within // 64
        self.seen = {}

    def is_duplicate(self, id, latest):
        """Whether an earlier record has this id and still counts, at this latest observed time."""
        offset, then = self.seen.get(id, (None, None))
        return offset is not None and latest // self.step - then // self.step <= 64

    def add(self, id, offset, latest):
        self.seen[id] = (offset, latest)

    def forget_before(self, first):
        """Drops the ids of records before an offset: they do not count any more."""
        self.seen = {id: last for id, last in self.seen.items() if last[0] >= first}
