//! Drops what is only of use to developers: a plugin in Zig by the contract's binary interface alone, without an SDK.

/// A text of the contract: where it is, how long.
const Text = extern struct {
    at: [*]const u8,
    len: usize,

    fn of(text: []const u8) Text {
        return .{ .at = text.ptr, .len = text.len };
    }
};

fn List(comptime T: type) type {
    return extern struct { at: ?[*]const T = null, len: usize = 0 };
}

/// A column of a batch: offsets of its values within the data, and masks by row.
const Column = extern struct { offsets: List(u32), data: List(u8), present: List(u64), json: List(u64) };

/// `result<registration, string>`: the tag 0 is that of a registration.
const Registration = extern struct {
    tag: u64 = 0,
    name: Text,
    version: Text,
    columns: List(Text),
    timestamps: u32 = 0,
    routes: List(Text) = .{},
    drop_reasons: List(Text) = .{},
    state_version: u32 = 0,
    lateness: i64 = 0,
};

/// `result<edits, failure>`: nothing but a mask of the rows that are kept.
const Edits = extern struct {
    tag: u64 = 0,
    keep: List(u64) = .{},
    edits: List(u32) = .{},
    routes: List(u8) = .{},
    added: List(u32) = .{},
    dropped: List(u32) = .{},
    absorbed: List(u64) = .{},
    dead: List(u32) = .{},
    wake_at: [2]u64 = .{ 0, 0 },
};

const columns = [_]Text{Text.of("level")};
var registration: Registration = undefined;
var edits: Edits = undefined;

/// What a call is given and what it answers, one piece after the other, until the answer was read.
var next: usize = 0;
var first: usize = 0;

fn allocate(alignment: usize, size: usize) usize {
    if (first == 0) {
        first = @wasmMemorySize(0) * 65536;
        next = first;
    }
    const at = (next + alignment - 1) / alignment * alignment;
    next = at + size;
    const pages = (next + 65535) / 65536;
    if (pages > @wasmMemorySize(0) and @wasmMemoryGrow(0, pages - @wasmMemorySize(0)) < 0) @trap();
    return at;
}

fn realloc(_: usize, _: usize, alignment: usize, size: usize) callconv(.c) usize {
    return allocate(alignment, size);
}

fn configure(_: usize, _: usize, _: usize, _: usize) callconv(.c) *const Registration {
    registration = .{
        .name = Text.of("no-debug"),
        .version = Text.of("0.1.0"),
        .columns = .{ .at = &columns, .len = columns.len },
    };
    return &registration;
}

fn process(
    count: u32,
    _: usize,
    _: usize,
    _: i64,
    _: i64,
    _: usize,
    _: usize,
    batch: [*]const Column,
    _: usize,
) callconv(.c) *const Edits {
    const words = (count + 63) / 64;
    const keep: [*]u64 = @ptrFromInt(allocate(8, words * 8));
    @memset(keep[0..words], 0);
    for (0..count) |row| {
        if (!isDebug(batch[0], row)) keep[row / 64] |= @as(u64, 1) << @intCast(row % 64);
    }
    edits = .{ .keep = .{ .at = keep, .len = words } };
    return &edits;
}

/// Whether the row's value is the text `debug`; a value that is missing is empty.
fn isDebug(level: Column, row: usize) bool {
    const offsets = level.offsets.at.?;
    if (offsets[row + 1] - offsets[row] != 5) return false;
    for (level.data.at.?[offsets[row]..][0..5], "debug") |a, b| if (a != b) return false;
    return true;
}

fn processed(_: *const Edits) callconv(.c) void {
    next = first;
}

comptime {
    @export(&realloc, .{ .name = "cabi_realloc" });
    @export(&configure, .{ .name = "sawlog:plugin/lifecycle@0.1.0#configure" });
    @export(&process, .{ .name = "sawlog:plugin/transform@0.1.0#process" });
    @export(&processed, .{ .name = "cabi_post_sawlog:plugin/transform@0.1.0#process" });
}
