"""Frames fetched by seeking are those of a full decode, bit for bit, whatever wrote the file."""

import csv
import gc
import random
import struct
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
import pytest
import torch

from tsmlib import ConfigError, VideoError
from tsmlib.data.frame_seeking import SeekingDecoder
from tsmlib.data.video import VideoFile
from tsmlib.data.video_packets import MAX_KEPT_BYTES, PacketDecoder

SIZE = (112, 80)  # width, height
DECODERS = ("pyav", "decord")
X264 = {"g": "12", "preset": "ultrafast"}
BS = {"bf": "3", "g": "12", "preset": "veryfast"}  # B-frames that others refer to
BOTH = "b-adapt=0:scenecut=0"

# file name: (codec, its options, other arguments of `encode`)
SEEKING = {
    "no_b.mp4": ("libx264", X264 | {"bf": "0"}, {}),
    "b.mp4": ("libx264", BS | {"x264-params": BOTH}, {}),
    "open.mp4": ("libx264", BS | {"x264-params": f"open-gop=1:{BOTH}"}, {}),
    "open.mkv": ("libx264", BS | {"x264-params": f"open-gop=1:b-pyramid=none:{BOTH}"}, {}),
    "gop_250.mp4": ("libx264", BS | {"g": "250"}, {"count": 300}),
    "one_gop.mp4": ("libx264", BS | {"x264-params": "keyint=infinite"}, {}),
    "444.mp4": ("libx264", BS, {"pix_fmt": "yuv444p"}),
    "10_bit.mp4": ("libx264", BS, {"pix_fmt": "yuv420p10le"}),
    "full_range.mp4": ("libx264", BS, {"pix_fmt": "yuvj420p"}),
    "uneven.mp4": ("libx264", BS, {"time": lambda i: 40 * i + 7 * i * i % 31 + i // 9 * 300}),
    "uneven.mkv": ("libx264", BS, {"time": lambda i: 40 * i + 7 * i * i % 31 + i // 9 * 300}),
    "h264.flv": ("libx264", BS, {}),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "open-gop=1:b-adapt=0:"
                             "bframes=3:keyint=12:log-level=none"}, {}),
    "mpeg4.avi": ("mpeg4", {"g": "12"}, {}),
    "mpeg4_b.mp4": ("mpeg4", {"g": "12"}, {"b_frames": 2}),
    "mpeg2.mkv": ("mpeg2video", {"g": "12"}, {"b_frames": 2}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "cpu-used": "5", "lag-in-frames": "16",
                                "auto-alt-ref": "1"}, {}),
    "av1.mp4": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}, {}),
    "mjpeg.avi": ("mjpeg", {}, {"pix_fmt": "yuvj420p"}),
}  # fmt: skip
IN_ORDER = {  # no times, frames without a packet of their own, maybe fields, or another codec
    "interlaced.mp4": ("libx264", BS | {"x264-params": "tff=1"}, {}),
    "mpeg4_b.avi": ("mpeg4", {"g": "12"}, {"b_frames": 2}),
    "b.avi": ("libx264", BS, {}),
    "b.ts": ("libx264", BS, {"form": "mpegts"}),
    "b.h264": ("libx264", BS, {"form": "h264"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "12"}, {"b_frames": 2, "form": "mpeg"}),
    "mpeg1.mpg": ("mpeg1video", {"g": "12"}, {"b_frames": 2, "form": "mpeg"}),
    "hidden.webm": ("libvpx", {"g": "12", "cpu-used": "8", "lag-in-frames": "16",
                               "auto-alt-ref": "1"}, {}),
    "wmv2.wmv": ("wmv2", {"g": "12"}, {"form": "asf"}),
}  # fmt: skip


def pictures(count: int) -> np.ndarray:
    """uint8 `[T, H, W, 3]` that move, and of which no two are equal."""
    width, height = SIZE
    noise = np.random.default_rng(0).integers(0, 160, (height // 4, width // 4, 3), np.uint8)
    base = noise.repeat(4, 0).repeat(4, 1)
    return np.stack([np.roll(base, (i, 2 * i), (0, 1)) + np.uint8(i % 90) for i in range(count)])


def encode(path, codec, options, count=48, pix_fmt="yuv420p", b_frames=None, time=None, form=None):
    """`time`: of each frame in milliseconds; None: 25 frames a second."""
    if codec not in av.codecs_available:
        pytest.skip(f"PyAV has no encoder {codec}")
    unit = Fraction(1, 1000 if time else 25)
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        (stream.width, stream.height), stream.pix_fmt, stream.thread_count = SIZE, pix_fmt, 1
        stream.codec_context.time_base = unit
        if b_frames:
            stream.codec_context.max_b_frames = b_frames
        for i, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time(i) if time else i, unit
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def every_frame(path: Path) -> torch.Tensor:
    """The slow obvious way: everything, from the beginning to the end."""
    with av.open(str(path), metadata_errors="replace") as container:
        container.streams.video[0].thread_count = 1
        decoded = container.decode(video=0)
        return torch.from_numpy(np.stack([f.to_ndarray(format="rgb24") for f in decoded]))


def check(path: Path, draws: int = 6, **options) -> VideoFile:
    """One reader, and new ones, give the frames of a full decode for many sets of numbers."""
    wanted, numbers = every_frame(path), random.Random(0)
    count, video = len(wanted), VideoFile(path, decoder="pyav", **options)
    sets = [[0], [count - 1], [count - 1, 0], [count // 2] * 3]
    for _ in range(draws):
        drawn = numbers.choices(range(count), k=8)
        sets += [drawn, sorted(set(drawn)), drawn[:1]]
    parts = [list(range(i, min(i + 16, count))) for i in range(0, count, 16)]
    assert video.num_frames == count
    for threads, again in ((1, False), (3, False), (2, True)):
        with patch.object(torch, "get_num_threads", lambda n=threads: n):
            for indices in sets if again else [*sets, *parts, list(range(count)), *parts[::-3]]:
                reader = VideoFile(path, decoder="pyav", **options) if again else video
                assert torch.equal(reader.frames(indices), wanted[indices]), (threads, indices)
    return video


def open_decoders() -> list[PacketDecoder]:
    """Decoders that exist at the moment, each with its packets."""
    return [thing for thing in gc.get_objects() if isinstance(thing, PacketDecoder)]


@pytest.fixture
def fed(monkeypatch):
    """How often a packet was decoded, by its position."""
    positions, decode_next = [], PacketDecoder.decode_next

    def counted(packets, skip=False):
        positions.append(packets.position)
        return decode_next(packets, skip)

    monkeypatch.setattr(PacketDecoder, "decode_next", counted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    return positions


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEEKING)
def test_seeking_gives_the_frames_of_a_full_decode(tmp_path, name):
    codec, options, more = SEEKING[name]
    encode(tmp_path / name, codec, options, **more)
    assert check(tmp_path / name).method == "seeking"


@pytest.mark.parametrize("name", IN_ORDER)
def test_files_whose_packets_promise_nothing_are_decoded_in_order(tmp_path, name):
    codec, options, more = IN_ORDER[name]
    encode(tmp_path / name, codec, options, **more)
    assert check(tmp_path / name).method == "sequential"


@pytest.mark.parametrize("name", ["open.mp4", "mpeg4_b.avi"])
def test_what_is_too_large_to_keep_is_read_again(tmp_path, name):
    codec, options, more = (SEEKING | IN_ORDER)[name]
    encode(tmp_path / name, codec, options, **more)
    check(tmp_path / name, draws=2, max_kept=0)


def test_key_packets_that_need_others(tmp_path):
    """Intra refresh: marked as if decoding could start there, which the decoder does not confirm.

    Everything is then decoded in order, from the first such frame on.
    """
    path = tmp_path / "refresh.mp4"
    encode(path, "libx264", X264 | {"bf": "0", "x264-params": "intra-refresh=1"})
    video = VideoFile(path)
    assert video.num_frames == 48 and sum(p.key for p in PacketDecoder(path).packets) > 2
    assert torch.equal(video.frames([40]), every_frame(path)[[40]])
    assert video.method == "sequential" and check(path).method == "sequential"


def test_parameters_that_change(tmp_path):
    """Two recordings in one file: the decoder must have seen where the second begins."""
    encode(tmp_path / "first.flv", "libx264", BS)
    encode(tmp_path / "second.flv", "libx264", X264 | {"x264-params": "cabac=0:8x8dct=0"})
    content, more = ((tmp_path / f"{name}.flv").read_bytes() for name in ("first", "second"))
    at = 13  # after the header, tags of 11 bytes, data and 4 bytes
    while at < len(more):
        size = int.from_bytes(more[at + 1 : at + 4], "big") + 15
        later = (int.from_bytes(more[at + 4 : at + 7], "big") + 2000).to_bytes(3, "big")
        content += more[at : at + 4] + later + more[at + 7 : at + size]
        at += size
    (tmp_path / "both.flv").write_bytes(content)
    video = check(tmp_path / "both.flv")
    assert video.method == "sequential" and video.num_frames == 96


def test_frames_hidden_by_an_edit_list(tmp_path):
    """What was cut off without encoding anew is decoded, and neither shown nor counted."""
    whole, cut = tmp_path / "b.mp4", tmp_path / "cut.mp4"
    encode(whole, "libx264", BS | {"x264-params": BOTH})
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                early = 5 * packet.duration
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - early,
                    packet.dts - early,
                    stream,
                )
                target.mux(packet)
    video = check(cut)
    assert video.method == "seeking" and video.num_frames == 43
    assert torch.equal(video.frames([0, 42]), VideoFile(whole).frames([5, 47]))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_pictures_are_upright(tmp_path, quarters):
    """The header may say that the camera was held on its side; both decoders turn the frames."""
    path = tmp_path / "held.mp4"
    encode(path, "libx264", X264)
    before = every_frame(path)[[3, 30]]
    cos, sin = ((0, 1), (-1, 0), (0, -1))[quarters - 1]
    matrix = [[cos, sin, 0, -sin, cos, 0, 0, 0, 2**14], [1, 0, 0, 0, 1, 0, 0, 0, 2**14]]
    turned, plain = (struct.pack(">9i", *(2**16 * x for x in m)) for m in matrix)
    content = path.read_bytes()
    at = content.index(plain, content.index(b"tkhd"))
    path.write_bytes(content[:at] + turned + content[at + len(plain) :])
    frames = VideoFile(path).frames([3, 30])
    assert torch.equal(frames, before.rot90(-quarters, (1, 2)))
    assert torch.equal(frames, VideoFile(path, decoder="decord").frames([3, 30]))


# --- at what cost ---------------------------------------------------------------------------------


def test_only_groups_with_wanted_frames_are_decoded(tmp_path, fed):
    encode(tmp_path / "b.mp4", "libx264", BS | {"x264-params": BOTH}, count=120)
    VideoFile(tmp_path / "b.mp4").frames([14, 15, 100])
    assert len(fed) == len(set(fed)) <= 4 + 6 + 6
    assert {position // 12 for position in fed} == {1, 8}


@pytest.mark.parametrize("name", ["gop_250.mp4", "open.mp4", "mpeg4.avi"])
def test_a_whole_video_in_parts_is_decoded_once(tmp_path, fed, name):
    codec, options, more = SEEKING[name]
    encode(tmp_path / name, codec, options, **more)
    video = VideoFile(tmp_path / name)
    for first in range(0, video.num_frames, 16):
        video.frames(list(range(first, min(first + 16, video.num_frames))))
    assert fed == list(range(video.num_frames))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_threads_share_the_groups(tmp_path, fed, monkeypatch, count):
    """Every packet is decoded by one of them alone, and they have about as much to do."""
    encode(tmp_path / "b.mp4", "libx264", BS | {"x264-params": BOTH}, count=120)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    video, wanted = VideoFile(tmp_path / "b.mp4"), [5, 6, 30, 47, 60, 71, 90, 100, 110, 119]
    decoder = SeekingDecoder(PacketDecoder(tmp_path / "b.mp4"))
    parts = decoder.partition(wanted, count)
    assert sum(parts, []) == wanted and len(parts) == min(count, 3)  # 16 packets at least
    used = [{n // 12 for n in part} for part in parts]
    assert sum(map(len, used)) == len(set().union(*used))
    assert max(map(len, used)) - min(map(len, used)) <= 2
    assert decoder.partition(list(range(120)), count) == [list(range(120))]
    del decoder
    video.frames(wanted)
    assert len(open_decoders()) == len(parts)
    assert len(fed) == len(set(fed)) <= 90


@pytest.mark.parametrize("kept", [MAX_KEPT_BYTES, 0])
@pytest.mark.parametrize("name", ["b.mp4", "mpeg4_b.avi"])
def test_nothing_stays_open(tmp_path, name, kept):
    """A data set opens thousands of files: none waits for the garbage collector."""
    codec, options, more = (SEEKING | IN_ORDER)[name]
    encode(tmp_path / name, codec, options, **more)
    gc.disable()
    try:
        video = VideoFile(tmp_path / name, max_kept=kept)
        video.frames([3, 20, 40])
        assert open_decoders()
        del video
        assert not open_decoders()
        links = (link for link in Path("/proc/self/fd").glob("*") if link.exists())
        assert all(link.resolve() != tmp_path / name for link in links)
    finally:
        gc.enable()


# --- what is wrong --------------------------------------------------------------------------------


def refused(path: Path, number: int) -> None:
    """Overwrite a packet, so that the decoder cannot take it."""
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[number]
    content = bytearray(path.read_bytes())
    content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_group_of_pictures(tmp_path, decoder):
    """Frames that need a packet that cannot be decoded are an error, and no others.

    decord decodes ahead in threads of its own: it may refuse other frames, never answer wrongly.
    """
    path = tmp_path / "clip.mp4"
    encode(path, "libx264", X264 | {"bf": "0", "x264-params": "scenecut=0"})
    wanted = every_frame(path)
    refused(path, 14)  # groups begin with 0, 12, 24 and 36
    video = VideoFile(path, decoder=decoder)
    assert video.num_frames == 48
    for _ in range(2):
        with pytest.raises(VideoError, match=r"clip.mp4: frames \[5, 20\]: ") as error:
            VideoFile(path, decoder=decoder).frames([5, 20])
        assert "\n" not in str(error.value)
    for indices in ([5], [13, 30], [47]):
        with suppress(VideoError) if decoder == "decord" else nullcontext():
            assert torch.equal(VideoFile(path, decoder=decoder).frames(indices), wanted[indices])


def test_an_error_is_the_same_when_asked_again(tmp_path):
    encode(tmp_path / "clip.mp4", "libx264", X264 | {"bf": "0", "x264-params": "scenecut=0"})
    refused(tmp_path / "clip.mp4", 14)
    video = VideoFile(tmp_path / "clip.mp4")
    for indices in ([15], [16], [15, 16, 17], [20]):
        with pytest.raises(VideoError, match="damaged: the first 14 of 48 frames are whole"):
            video.frames(indices)
    assert video.frames([3, 30]).shape == (2, 80, 112, 3)


def test_damage_at_the_end_costs_the_last_frames(tmp_path):
    encode(tmp_path / "clip.mp4", "libx264", X264 | {"bf": "0", "x264-params": "scenecut=0"})
    wanted = every_frame(tmp_path / "clip.mp4")
    refused(tmp_path / "clip.mp4", 47)
    video = VideoFile(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match=r"frames \[47\]: damaged: the packet of frame 47 gives"):
        video.frames([47])
    assert torch.equal(video.frames([46, 0]), wanted[[46, 0]])


@pytest.mark.parametrize("max_kept", [0, MAX_KEPT_BYTES])
def test_a_number_is_one_picture_however_it_is_read(tmp_path, monkeypatch, max_kept):
    """Also where a packet before it gave no picture, in silence, as noise in H.264 may do."""
    encode(tmp_path / "clip.mp4", "libx264", X264 | {"bf": "0", "x264-params": "scenecut=0"})
    wanted, decode = every_frame(tmp_path / "clip.mp4"), PacketDecoder.decode_next

    def lossy(packets, skip=False):
        frames = decode(packets, skip)
        return [] if packets.position == 14 else frames

    monkeypatch.setattr(PacketDecoder, "decode_next", lossy)
    video = VideoFile(tmp_path / "clip.mp4", max_kept=max_kept)
    assert torch.equal(video.frames([40]), wanted[[40]])
    with pytest.raises(VideoError, match=r"the packet of frame 13 gives no picture"):
        video.frames([12, 13, 14])
    assert video.num_frames == 48 and video.method == "sequential"
    assert torch.equal(video.frames([40, 12, 14]), wanted[[40, 12, 14]])


def test_damage_that_the_decoder_conceals(tmp_path):
    """Guessed from what was decoded before, so that only a full decode has an answer."""
    path = tmp_path / "clip.avi"
    encode(path, "mpeg4", {"g": "12"})
    with av.open(str(path)) as container:
        packet = list(container.demux(video=0))[24]  # a key frame
    content = bytearray(path.read_bytes())
    middle = packet.pos + packet.size // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    wanted = every_frame(path)
    assert wanted.shape[0] == 48
    assert torch.equal(VideoFile(path).frames([30]), wanted[[30]])
    assert torch.equal(VideoFile(path).frames([5, 45]), wanted[[5, 45]])


def test_a_recording_that_begins_between_key_frames(tmp_path):
    encode(tmp_path / "whole.ts", "libx264", BS, form="mpegts")
    content = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "part.ts").write_bytes(content[188 * (len(content) // 188 // 3) :])
    video = VideoFile(tmp_path / "part.ts")
    assert video.method == "sequential" and 0 < video.num_frames < 48
    last = every_frame(tmp_path / "whole.ts")[[-1]]
    assert torch.equal(video.frames([video.num_frames - 1]), last)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("content", [b"", b"this is no video\n" * 50, bytes(5000)])
def test_a_file_that_is_no_video(tmp_path, decoder, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match="clip.mp4: [^\n]+$"):
        VideoFile(tmp_path / "clip.mp4", decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_that_is_not_there(tmp_path, decoder):
    with pytest.raises(VideoError, match="absent.mp4: No such file"):
        VideoFile(tmp_path / "absent.mp4", decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_alone(tmp_path, decoder):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="sound.mp4: [^\n]+$"):
        VideoFile(path, decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_a_truncated_file(tmp_path, decoder, suffix):
    path = tmp_path / f"clip.{suffix}"
    encode(path, "mpeg4", {"g": "12"}, b_frames=2)
    with av.open(str(path)) as source, av.open(
        str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}
    ) as target:  # fmt: skip
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and suffix == "mp4":
                packet.stream = stream
                target.mux(packet)
    content = (tmp_path / "front.mp4" if suffix == "mp4" else path).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(VideoError, match=rf"clip.{suffix}: truncated: \d+ of 4[78] frames"):
        VideoFile(path, decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_frame_that_is_not_there(tmp_path, decoder):
    encode(tmp_path / "clip.mp4", "libx264", X264)
    with pytest.raises(VideoError, match=r"clip.mp4: frames \[3, 48\]: "):
        VideoFile(tmp_path / "clip.mp4", decoder=decoder).frames([3, 48])


# --- the other decoder ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["b.mp4", "gop_250.mp4", "444.mp4", "mpeg4.avi", "vp9.webm"])
def test_both_decoders_give_the_same(tmp_path, name):
    """Not where GOPs are open or B-frames have no times: there, decord's seeking misses frames."""
    codec, options, more = (SEEKING | IN_ORDER)[name]
    encode(tmp_path / name, codec, options, **more)
    videos = [VideoFile(tmp_path / name, decoder=decoder) for decoder in DECODERS]
    assert videos[0].num_frames == videos[1].num_frames == more.get("count", 48)
    for indices in ([0, 13, 30, 47], [40, 2, 2]):
        assert torch.equal(videos[0].frames(indices), videos[1].frames(indices))


def test_the_environment_names_the_decoder(tmp_path, monkeypatch):
    encode(tmp_path / "clip.mp4", "libx264", X264)
    for name, method in (("decord", "decord"), ("pyav", "seeking"), ("", "seeking")):
        monkeypatch.setenv("TSM_DECODER", name)
        assert VideoFile(tmp_path / "clip.mp4").method == method
    monkeypatch.setenv("TSM_DECODER", "decord")
    assert VideoFile(tmp_path / "clip.mp4", decoder="pyav").method == "seeking"


def test_a_misspelt_decoder(tmp_path, monkeypatch):
    """A mistake of the user, not of the file: no video is counted as bad for it."""
    with pytest.raises(ConfigError, match="decoder='pyva' .* is none of pyav, decord"):
        VideoFile(tmp_path / "absent.mp4", decoder="pyva")
    monkeypatch.setenv("TSM_DECODER", "ffmpeg")
    with pytest.raises(ConfigError, match="decoder='ffmpeg' .*TSM_DECODER.* is none of"):
        VideoFile(tmp_path / "absent.mp4")


# --- real files -----------------------------------------------------------------------------------


def test_real_clips(shared):
    """Every one of them; the AVI files have B-frames without times, two of them packed in pairs."""
    clips, ways = shared / "data/benchmark_clips", {}
    with (clips / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            ways[row["clip"]] = check(clips / row["clip"], draws=1).method
    assert len(ways) == 9
    assert sum(found == "seeking" for found in ways.values()) == 5


def test_short_real_clips(shared):
    files = sorted((shared / "data/lip_words/videos").rglob("*.mp4"))
    files += sorted((shared / "data/overhead_actions/videos").rglob("*.mp4"))[::25]
    assert len(files) == 30
    assert {check(file, draws=1).method for file in files} == {"seeking"}
