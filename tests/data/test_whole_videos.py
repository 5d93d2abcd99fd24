"""What counts as a whole video: what a full decode gives, whatever the header says; and limits."""

import io
import os
import re
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tsmlib import VideoError
from tsmlib.data.video import FrameFolder, VideoFile

DECODERS = ("pyav", "decord")


def pictures(count, height=64, width=96):
    """uint8 `[T, H, W, 3]`: a bright bar moves over still noise."""
    drawn = np.random.default_rng(0).integers(0, 120, (1, height, width, 3), np.uint8)
    drawn = drawn.repeat(count, 0)
    for t in range(count):
        drawn[t, :, 2 * t % width :][:, :8] = 240
    return drawn


def encode(path, codec="libx264", count=60, times=None, form=None, mux=None, size=None, **options):
    """Write a video; `times`: of the frames in 25ths of a second, `mux`: options of the muxer."""
    with av.open(str(path), "w", format=form, options=mux or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        drawn = pictures(count, *(size or (64, 96)))
        stream.height, stream.width = drawn.shape[1:3]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i, picture in enumerate(drawn):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path) -> torch.Tensor:
    """The slow obvious way, for frames of one size that need no turn."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return torch.from_numpy(np.stack([f.to_ndarray(format="rgb24") for f in frames]))


def cut(path, share):
    """Leave the first part of a file's bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


# --- files that end early -------------------------------------------------------------------------

CONTAINERS = {
    "a.mkv": {},
    "a.webm": {"codec": "libvpx", "cpu-used": "8"},
    "a.flv": {},
    "a.wmv": {"codec": "wmv2"},
    "a.avi": {"codec": "mjpeg"},
    "table_first.mp4": {"mux": {"movflags": "faststart"}},
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", CONTAINERS)
def test_a_file_that_ends_early(tmp_path, name, decoder):
    file = encode(tmp_path / name, **CONTAINERS[name])
    assert VideoFile(file, decoder=decoder).num_frames == len(decode_all(file)) == 60
    for share in (0.75, 0.5, 0.35):
        with pytest.raises(VideoError, match=name):
            VideoFile(cut(file, share), decoder=decoder)


def test_a_share_of_what_is_missing_is_told(tmp_path):
    file = cut(encode(tmp_path / "a.mkv", g="12"), 0.5)
    present = len(decode_all(file))
    with pytest.raises(VideoError, match=rf"truncated: {present} of (59|60|61) frames"):
        VideoFile(file)


def test_a_recording_that_states_no_length_is_what_is_there(tmp_path):
    """Such are those of browsers; a list that says their length still holds."""
    file = cut(encode(tmp_path / "live.mkv", form="matroska", mux={"live": "1"}, g="12"), 0.5)
    count = len(decode_all(file))
    assert 10 < VideoFile(file).num_frames == count < 50
    with pytest.raises(VideoError, match=f"truncated: {count} of 60 frames"):
        VideoFile(file, listed_frames=60)


# --- headers that count otherwise -----------------------------------------------------------------


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_dropped_frames_are_counted_by_the_header_of_an_avi(tmp_path, codec, decoder):
    times = [*range(8), *range(8, 80, 3)]
    file = encode(tmp_path / "a.avi", codec, len(times), times)
    with av.open(str(file)) as container:
        assert container.streams.video[0].frames > 70
    video = VideoFile(file, decoder=decoder)
    assert video.num_frames == len(times)
    assert torch.equal(video.frames([30, 3, 9]), decode_all(file)[[30, 3, 9]])
    with pytest.raises(VideoError, match=r"a\.avi"):
        VideoFile(cut(file, 0.6), decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("wrong", [1, 2, 1000])
def test_an_avi_that_is_whole_though_its_header_counts_more(tmp_path, wrong, decoder):
    file = encode(tmp_path / "a.avi", "mjpeg", count=10)
    content = bytearray(file.read_bytes())
    for name, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):  # dwTotalFrames, dwLength
        struct.pack_into("<I", content, content.index(name) + offset, 10 + wrong)
    file.write_bytes(content)
    video = VideoFile(file, decoder=decoder)
    assert torch.equal(video.frames(list(range(10))), decode_all(file))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_list_that_is_off_by_one(tmp_path, decoder):
    file = encode(tmp_path / "a.mp4", count=10)
    assert VideoFile(file, listed_frames=11, decoder=decoder).num_frames == 10
    with pytest.raises(VideoError, match="truncated: 10 of 12 frames"):
        VideoFile(file, listed_frames=12, decoder=decoder)


@pytest.mark.parametrize("lost", [range(0), range(20, 21), range(30)])
@pytest.mark.parametrize("name", ["a.avi", "a.mov"])
def test_pictures_of_mjpeg_without_their_end(tmp_path, name, lost):
    """Some encoders write none, and FFmpeg needs none."""
    file = encode(tmp_path / name, "mjpeg", count=30)
    content, wanted = bytearray(file.read_bytes()), decode_all(file)
    places = [match.start() for match in re.finditer(b"\xff\xd9", content)]
    for i in lost:
        content[places[i] : places[i] + 2] = b"\0\0"
    file.write_bytes(content)
    assert torch.equal(VideoFile(file).frames([*range(30)]), wanted)


@pytest.mark.parametrize("name", ["a.avi", "a.mov"])
def test_a_picture_of_mjpeg_that_is_not_whole(tmp_path, name):
    """FFmpeg fills it up with what its memory held before, in silence."""
    file = encode(tmp_path / name, "mjpeg", count=30)
    content, wanted = bytearray(file.read_bytes()), decode_all(file)
    end = [match.start() for match in re.finditer(b"\xff\xd9", content)][20]
    content[end - 200 : end] = b"\xff\xd9" * 100
    file.write_bytes(content)
    video = VideoFile(file)
    assert torch.equal(video.frames([2, 28]), wanted[[2, 28]])
    with pytest.raises(VideoError, match="damaged: the first 20 of 30 frames are whole"):
        video.frames([20])


# --- frames in two packets ------------------------------------------------------------------------


class Bits:
    """Writes H.264 bit by bit: fixed lengths, and Exp-Golomb codes."""

    def __init__(self):
        self.bits: list[int] = []

    def fixed(self, count, value):
        self.bits += [value >> i & 1 for i in reversed(range(count))]
        return self

    def codes(self, *values):
        for value in values:
            length = (value + 1).bit_length()
            self.fixed(2 * length - 1, value + 1)
        return self

    def samples(self, values):
        self.bits += [0] * (-len(self.bits) % 8)
        self.bits += np.unpackbits(np.asarray(values, np.uint8).ravel()).tolist()
        return self

    def unit(self, head) -> bytes:
        self.fixed(1, 1).samples([])
        raw, zeros = b"", 0
        for byte in np.packbits(self.bits).tolist():
            if zeros >= 2 and byte <= 3:
                raw, zeros = raw + b"\3", 0
            raw, zeros = raw + bytes([byte]), zeros + 1 if byte == 0 else 0
        return b"\0\0\0\1" + bytes([head]) + raw


def field_packets(luma):
    """Code grey pictures `[T, H, W]` without loss (I_PCM), each as two fields, one per packet."""
    _, height, width = luma.shape
    sps = Bits().fixed(24, 0x4D001E).codes(0, 0, 2, 1).fixed(1, 0)
    sps.codes(width // 16 - 1, height // 32 - 1).fixed(5, 0b00100)  # fields are allowed
    pps = Bits().codes(0, 0).fixed(2, 0).codes(0, 0, 0).fixed(3, 0).codes(0, 0, 0).fixed(3, 0b100)
    header = sps.unit(0x67) + pps.unit(0x68)
    packets = []
    for number, picture in enumerate(luma):
        for bottom in (0, 1):
            first = number == bottom == 0
            coded = Bits().codes(0, 7, 0).fixed(4, number % 16).fixed(2, 2 + bottom)
            coded = coded.codes(0).fixed(2, 0) if first else coded.fixed(1, 0)
            coded.codes(0, 1)  # quantiser as it is, no deblocking
            rows = picture[bottom::2]
            for y in range(0, len(rows), 16):
                for x in range(0, width, 16):
                    coded.codes(25).samples(rows[y : y + 16, x : x + 16]).samples([128] * 128)
            packets.append((header if first else b"") + coded.unit(0x65 if first else 0x61))
    return header, packets


@pytest.mark.parametrize("name", ["fields.mkv", "fields.mp4"])
def test_frames_whose_fields_are_packets_of_their_own(tmp_path, name):
    luma = np.full((10, 64, 64), 40, np.uint8) + 15 * np.arange(10, dtype=np.uint8)[:, None, None]
    luma[:, 20:30, 8:40] = 220
    header, packets = field_packets(luma)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.extradata = header
        for i, content in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = i
            packet.duration, packet.time_base = 1, Fraction(1, 50)
            packet.is_keyframe, packet.stream = i == 0, stream
            container.mux(packet)
    wanted = decode_all(tmp_path / name)
    assert len(wanted) == 10 and wanted.float().mean((1, 2, 3)).diff().min() > 10
    video = VideoFile(tmp_path / name, decoder="pyav")
    assert video.num_frames == 10
    for i in (9, 0, 4):
        assert torch.equal(video.frames([i])[0], wanted[i])


# --- mirrored and joined --------------------------------------------------------------------------

# a, b, c, d of the display matrix, and what ffmpeg does to a picture
MATRICES = {
    "turned": ((0, 1, -1, 0), lambda x: x.transpose(1, 2).flip(2)),
    "turned back": ((0, -1, 1, 0), lambda x: x.transpose(1, 2).flip(1)),
    "upside down": ((-1, 0, 0, -1), lambda x: x.flip(1, 2)),
    "mirrored": ((-1, 0, 0, 1), lambda x: x.flip(2)),
    "flipped": ((1, 0, 0, -1), lambda x: x.flip(1)),
    "turned and mirrored": ((0, 1, 1, 0), lambda x: x.transpose(1, 2)),
    "turned back and mirrored": ((0, -1, -1, 0), lambda x: x.transpose(1, 2).flip(1, 2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_display_matrices(tmp_path, name):
    matrix, expected = MATRICES[name]
    file = encode(tmp_path / "a.mp4", count=3)
    plain, content = decode_all(file), bytearray(file.read_bytes())
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    position = content.index(identity, content.index(b"tkhd"))
    a, b, c, d = (65536 * value for value in matrix)
    struct.pack_into(">9i", content, position, a, b, 0, c, d, 0, 0, 0, 2**30)
    file.write_bytes(content)
    assert torch.equal(VideoFile(file, decoder="pyav").frames([0, 1, 2]), expected(plain))
    if a * d - b * c < 0:
        with pytest.raises(VideoError, match="decord turns mirrored pictures"):
            VideoFile(file, decoder="decord")
    else:
        found = VideoFile(file, decoder="decord").frames([0, 1, 2])
        assert torch.equal(found, expected(plain))


@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_have_the_size_of_the_first_one(tmp_path, decoder):
    parts = [encode(tmp_path / f"{i}.ts", form="mpegts", count=12, size=size, bf="0")
             for i, size in enumerate([(64, 96), (128, 64)])]  # fmt: skip
    file = tmp_path / "joined.ts"
    file.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = VideoFile(file, decoder=decoder)
    assert video.num_frames == 24
    found = video.frames([20, 2])
    assert found.shape == (2, 64, 96, 3)
    assert torch.equal(found[1], decode_all(parts[0])[2])
    assert found[0].float().std() > 10  # a picture


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.ts\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
@pytest.mark.parametrize("decoder", DECODERS)
def test_texts_that_name_other_files_are_no_videos(tmp_path, decoder, text):
    encode(tmp_path / "other.mp4", count=3)
    encode(tmp_path / "other.ts", form="mpegts", count=3)
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(VideoError, match=r"a\.mp4"):
        VideoFile(tmp_path / "a.mp4", decoder=decoder)


def test_pipes_and_devices_are_no_files(tmp_path):
    """Reading a pipe would wait for ever."""
    os.mkfifo(tmp_path / "00001.jpg")
    (tmp_path / "00002.jpg").symlink_to("/dev/zero")
    for name in ("00001.jpg", "00002.jpg"):
        for decoder in DECODERS:
            with pytest.raises(VideoError, match=f"{name}: it is a pipe, socket or device"):
                VideoFile(tmp_path / name, decoder=decoder)
    for number in (0, 1):
        with pytest.raises(VideoError, match="not a file"):
            FrameFolder(tmp_path, 2, "{:05}.jpg", 1).frames([number])


def jpeg(width, height) -> bytes:
    """A JPEG file of 8x8 pixels that claims another size."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((65500, 65500), "pixels, the most"),
        ((1, 5000), "times the other"),
        ((5000, 1), "times the"),
    ],
)
def test_sizes_that_are_not_read(tmp_path, size, reason):
    (tmp_path / "00001.jpg").write_bytes(jpeg(*size))
    with pytest.raises(VideoError, match=f"00001.jpg: .* {size[0]}x{size[1]} .*{reason}"):
        FrameFolder(tmp_path, 1, "{:05}.jpg", 1).frames([0])
    head = b"GIF89a" + struct.pack("<HHBBB", *size, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\2\2\x4c\1\0;"
    (tmp_path / "a.gif").write_bytes(head + image)
    with pytest.raises(VideoError, match=r"a\.gif"):
        VideoFile(tmp_path / "a.gif")


def test_a_frame_larger_than_its_video_says(tmp_path):
    file = encode(tmp_path / "a.avi", "mjpeg", count=5)
    content = file.read_bytes()
    header = content[content.index(b"\xff\xc0") :][:5]
    sizes = header + struct.pack(">HH", 64, 96)
    file.write_bytes(content.replace(sizes, header + struct.pack(">HH", 30000, 30000)))
    with pytest.raises(VideoError, match=r"a\.avi"):
        VideoFile(file).frames([0])


# --- files that others reported -------------------------------------------------------------------


@pytest.fixture
def cases(shared):
    if not (shared / "cases").is_dir():
        pytest.skip("there is no folder `cases`")
    return shared / "cases"


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["clip.avi", "clip_h264.avi"])
def test_reported_dropped_frames(cases, name, decoder):
    file = cases / "01_avi_dropped_frames" / name
    found = VideoFile(file, decoder=decoder).frames(list(range(26)))
    assert torch.equal(found, decode_all(file))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["turned_phone.webm", "joined.mp4"])
def test_reported_changes_of_size(cases, name, decoder):
    video = VideoFile(cases / "02_size_changes" / name, decoder=decoder)
    assert video.num_frames == 50
    assert video.frames([3, 9, 15, 21, 28, 34, 40, 46]).shape == (8, 64, 96, 3)


def test_reported_mirrors(cases):
    plain, selfie, ceiling = (
        VideoFile(cases / "03_mirrored" / f"{name}.mp4", decoder="pyav").frames([0, 24, 7])
        for name in ("without_matrix", "selfie", "ceiling")
    )
    assert torch.equal(selfie, plain.flip(2)) and torch.equal(ceiling, plain.flip(1))


@pytest.mark.parametrize("name", ["clip.mp4", "clip_no_edit_list.mp4", "with_ctts.mp4"])
def test_reported_streams_without_times_of_display(cases, name):
    file = cases / "04_no_ctts" / name
    wanted, video = decode_all(file), VideoFile(file, decoder="pyav")
    assert video.num_frames == len(wanted)
    for i in range(0, len(wanted), 7):
        assert torch.equal(video.frames([i])[0], wanted[i])


def test_reported_trim_is_not_read_by_decord(cases):
    file = cases / "12_two_decoders" / "lossless_trim.mp4"
    assert VideoFile(file, decoder="pyav").num_frames == 17
    with pytest.raises(VideoError, match="decord reads frames that the file hides"):
        VideoFile(file, decoder="decord")
