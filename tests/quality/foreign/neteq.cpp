// Plays files of packets through libwebrtc's NetEq in virtual time.
//
// Given: `neteq IN OUT`. IN is little-endian: u32 count, then per packet i64 arrival_us, u16 seq, u16 length, u32 timestamp, bytes; the
// file ends with i64 first tick and i64 last tick, both in microseconds. OUT gets the sound (48 kHz, mono, 16 bit) in blocks of 10 ms,
// each after one i64: the RTP timestamp of its first sample, or -1 when the block was not played from packets. On standard output: one
// line of JSON with NetEq's own counters. Decides nothing.

#include <cstdint>
#include <cstdio>
#include <vector>

#include "api/audio/audio_frame.h"
#include "api/audio_codecs/audio_decoder_factory_template.h"
#include "api/audio_codecs/opus/audio_decoder_opus.h"
#include "api/neteq/neteq.h"
#include "modules/audio_coding/neteq/default_neteq_factory.h"
#include "system_wrappers/include/clock.h"

struct Packet {
  int64_t arrival_us;
  uint16_t seq;
  uint32_t timestamp;
  std::vector<uint8_t> payload;
};

template <typename T>
static T read(FILE* file) {
  T value{};
  if (fread(&value, sizeof value, 1, file) != 1) {
    fprintf(stderr, "neteq: the input ends early\n");
    exit(2);
  }
  return value;
}

int main(int argc, char** argv) {
  FILE* in = argc == 3 ? fopen(argv[1], "rb") : nullptr;
  FILE* out = in ? fopen(argv[2], "wb") : nullptr;
  if (!out) {
    fprintf(stderr, "usage: neteq IN OUT\n");
    return 2;
  }
  std::vector<Packet> packets(read<uint32_t>(in));
  for (Packet& packet : packets) {
    packet.arrival_us = read<int64_t>(in);
    packet.seq = read<uint16_t>(in);
    packet.payload.resize(read<uint16_t>(in));
    packet.timestamp = read<uint32_t>(in);
    if (fread(packet.payload.data(), 1, packet.payload.size(), in) != packet.payload.size()) return 2;
  }
  int64_t tick_us = read<int64_t>(in);
  const int64_t end_us = read<int64_t>(in);

  webrtc::SimulatedClock clock(0);
  webrtc::NetEq::Config config;
  config.sample_rate_hz = 48000;
  // As a voice channel of libwebrtc sets it up.
  config.enable_muted_state = true;
  config.max_packets_in_buffer = 200;
  auto neteq = webrtc::DefaultNetEqFactory().CreateNetEq(config, webrtc::CreateAudioDecoderFactory<webrtc::AudioDecoderOpus>(), &clock);
  neteq->RegisterPayloadType(111, webrtc::SdpAudioFormat("opus", 48000, 2));

  size_t next = 0;
  webrtc::AudioFrame frame;
  // What is concealed before the first block from packets and after the last one is not the network's doing.
  webrtc::NetEqLifetimeStatistics stats;
  uint64_t before = 0;
  bool begun = false;
  for (; tick_us <= end_us; tick_us += 10000) {
    for (; next < packets.size() && packets[next].arrival_us <= tick_us; ++next) {
      const Packet& packet = packets[next];
      clock.AdvanceTimeMicroseconds(packet.arrival_us - clock.TimeInMicroseconds());
      webrtc::RTPHeader header;
      header.payloadType = 111;
      header.ssrc = 1;
      header.sequenceNumber = packet.seq;
      header.timestamp = packet.timestamp;
      neteq->InsertPacket(header, packet.payload);
    }
    clock.AdvanceTimeMicroseconds(tick_us - clock.TimeInMicroseconds());
    bool muted = false;
    if (neteq->GetAudio(&frame, &muted) != 0) return 3;
    const bool played = !muted && frame.speech_type_ != webrtc::AudioFrame::kPLC && frame.speech_type_ != webrtc::AudioFrame::kPLCCNG &&
                        frame.speech_type_ != webrtc::AudioFrame::kCNG;
    const auto last = neteq->GetPlayoutTimestamp();
    if (played) {
      stats = neteq->GetLifetimeStatistics();
      if (!begun) before = stats.concealed_samples;
      begun = true;
    }
    const int64_t first = played && last ? int64_t(uint32_t(*last - 480)) : -1;
    fwrite(&first, sizeof first, 1, out);
    int16_t mono[480] = {};
    const size_t channels = frame.num_channels_ == 0 ? 1 : frame.num_channels_;
    if (!muted && frame.samples_per_channel_ == 480) {
      for (size_t i = 0; i < 480; ++i) mono[i] = frame.data()[i * channels];
    }
    fwrite(mono, sizeof mono, 1, out);
  }
  printf(
      "{\"total\":%llu,\"concealed\":%llu,\"silent_concealed\":%llu,\"inserted\":%llu,\"removed\":%llu,\"discarded\":%llu,"
      "\"buffer_delay_ms\":%llu,\"emitted\":%llu,\"fec_received\":%llu,\"fec_discarded\":%llu}\n",
      (unsigned long long)stats.total_samples_received, (unsigned long long)(stats.concealed_samples - before),
      (unsigned long long)stats.silent_concealed_samples, (unsigned long long)stats.inserted_samples_for_deceleration,
      (unsigned long long)stats.removed_samples_for_acceleration, (unsigned long long)stats.packets_discarded,
      (unsigned long long)stats.jitter_buffer_delay_ms, (unsigned long long)stats.jitter_buffer_emitted_count,
      (unsigned long long)stats.fec_packets_received, (unsigned long long)stats.fec_packets_discarded);
  return fclose(out) == 0 ? 0 : 2;
}
