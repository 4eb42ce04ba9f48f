"""Write Sawlog plugins in Python: say which columns you read, get them once per batch, give back only what changed.

A plugin is a class with `configure` and `process`; `export` makes a component of it. It runs natively in unit tests: this file
needs the generated bindings only inside the component. It must not depend on the order of sets, on time or on random numbers.
"""

from dataclasses import dataclass, field


@dataclass
class Registration:
    """What a plugin wants and offers."""

    name: str
    version: str
    columns: list
    timestamps: bool = False
    routes: list = field(default_factory=list)
    drop_reasons: list = field(default_factory=list)
    state_version: int = 0
    lateness: int = 0


class Column:
    """The values of one field, row by row: `bytes`, or None where the row has no such field."""

    def __init__(self, offsets, data, present=(), json=()):
        self._offsets, self._data, self._present, self._json = offsets, bytes(data), present, json

    def __len__(self):
        return len(self._offsets) - 1

    def __getitem__(self, row):
        if self._present and not self._present[row >> 6] >> (row & 63) & 1:
            return None
        return self._data[self._offsets[row] : self._offsets[row + 1]]

    def __iter__(self):
        return (self[row] for row in range(len(self)))

    def is_json(self, row):
        """Whether the value is a JSON token (number, boolean, null, object, array) and not text."""
        return bool(self._json) and bool(self._json[row >> 6] >> (row & 63) & 1)

    def texts(self):
        """The rows that have text, with it, as (row, bytes)."""
        return ((row, value) for row, value in enumerate(self) if value is not None and not self.is_json(row))

    @staticmethod
    def of(values):
        """A column of texts, for tests; None = the row has no such field."""
        offsets, data, present = [0], b"", [0] * ((len(values) + 63) // 64)
        for row, value in enumerate(values):
            if value is not None:
                data += value.encode()
                present[row >> 6] |= 1 << (row & 63)
            offsets.append(len(data))
        return Column(offsets, data, present)


@dataclass
class Batch:
    """The rows of one call. Times are unix nanoseconds."""

    count: int
    columns: list
    input: str = "test"
    time: int = 0
    watermark: int = -(1 << 63)
    timestamps: list = field(default_factory=list)


class Edits:
    """The answer to one batch. Rows that are not mentioned are kept."""

    def __init__(self, count):
        self.count, self.keep, self.edits, self.routes = count, [], [], b""
        self.dropped, self.absorbed, self.dead = [], [], []

    def keep_each(self, verdicts):
        """Decides every row, in order."""
        self.keep = [0] * ((self.count + 63) // 64)
        for row, kept in enumerate(verdicts):
            if kept:
                self.keep[row >> 6] |= 1 << (row & 63)

    def drop(self, row, reason=0):
        """Ends a row: reason 0 is "filtered", n the n-th drop reason of the registration. Rows ascend."""
        if not self.keep:
            self.keep = [(1 << 64) - 1] * ((self.count + 63) // 64)
        self.keep[row >> 6] &= ~(1 << (row & 63))
        if reason:
            self.dropped.append((row, reason))

    def kill(self, row, reason):
        """Sends a row to the dead letters. Rows ascend."""
        self.dead.append((row, reason))

    def set_all(self, name, text):
        """The same text in every row. It must not depend on the batch."""
        self.edits.append(("set_all", name, text))

    def rename(self, old, new):
        """Renames a field, over what is there."""
        self.edits.append(("rename", old, new))

    def remove(self, name):
        """Removes a field from every row."""
        self.edits.append(("remove", name))

    def update(self, name, values):
        """New texts (`bytes`, valid UTF-8) for some rows of a field: a dict by row, ascending. Nothing if it is empty."""
        if values:
            self.edits.append(("update", name, values))


def export(plugin):
    """The classes `Lifecycle` and `Transform` of a component that is `plugin`; natively, where no component is made, two Nones."""
    try:
        from componentize_py_types import Err
        from wit_world import exports
        from wit_world.imports import types
    except ModuleNotFoundError:
        return None, None

    instances = []

    def of_edit(edit):
        kind, name, *rest = edit
        if kind == "set_all":
            return types.Edit_SetAll((name, rest[0]))
        if kind == "rename":
            return types.Edit_Rename((name, rest[0]))
        if kind == "remove":
            return types.Edit_Remove(name)
        offsets, parts, length = [0], [], 0
        for value in rest[0].values():
            parts.append(value)
            length += len(value)
            offsets.append(length)
        column = types.Column(offsets, b"".join(parts), [], [])
        return types.Edit_Update(types.Update(name, list(rest[0]), column))

    class Lifecycle(exports.Lifecycle):
        def configure(self, config, files):
            instance = plugin()
            try:
                r = instance.configure(config, dict(files))
            except Exception as error:
                raise Err(f"{error}") from error
            instances[:] = [instance]
            return types.Registration(
                r.name, r.version, r.columns, r.timestamps, r.routes, r.drop_reasons, r.state_version, r.lateness
            )

    class Transform(exports.Transform):
        def process(self, b):
            columns = [Column(c.offsets, c.data, c.present, c.json) for c in b.columns]
            edits = Edits(b.count)
            try:
                instances[0].process(Batch(b.count, columns, b.input, b.time, b.watermark, b.timestamps), edits)
            except Exception as error:
                raise Err(types.Failure_Rejected(f"{error}")) from error
            changes = [of_edit(edit) for edit in edits.edits]
            return types.Edits(
                edits.keep, changes, edits.routes, [], edits.dropped, edits.absorbed, edits.dead, None
            )

    return Lifecycle, Transform
