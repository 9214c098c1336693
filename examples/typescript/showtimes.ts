// Lists showtimes, schedules one, and reads why the same slot is refused a second time. It runs in Node as it is, and in a
// page that the service lets in (--cors-origin).

import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { CreateShowtimeRequestSchema, Showtimes, ShowtimeState } from "./generated/boxoffice/v1/showtimes_pb.js";
import { ErrorInfoSchema } from "./generated/google/rpc/error_details_pb.js";

const transport = createGrpcWebTransport({ baseUrl: "http://127.0.0.1:50051", defaultTimeoutMs: 5_000 });
const showtimes = createClient(Showtimes, transport);

const { showtimes: listed } = await showtimes.listShowtimes({});
for (const each of listed) {
  console.log(`${each.localDate} ${each.auditorium?.name}: ${each.movie?.title}, ${each.availableCount} seats free`);
}

const request = create(CreateShowtimeRequestSchema, {
  movieId: "tt1375666",
  auditoriumId: listed[0]?.auditorium?.auditoriumId ?? "",
  startTime: timestampFromDate(new Date(Date.now() + 60 * 86_400_000)),
  duration: { seconds: 148n * 60n },
  price: { currencyCode: "EUR", units: 12n, nanos: 500_000_000 },
});
const { showtime } = await showtimes.createShowtime(request);
console.log(`scheduled ${showtime?.movie?.title} on ${showtime?.localDate}`);

try {
  await showtimes.createShowtime(request);
} catch (thrown) {
  const [info] = ConnectError.from(thrown).findDetails(ErrorInfoSchema);
  console.log(`refused: ${info?.reason}`, info?.metadata);
}

const cancelled = await showtimes.cancelShowtime({ showtimeId: showtime?.showtimeId ?? "" });
console.log(`now ${ShowtimeState[cancelled.showtime?.state ?? ShowtimeState.UNSPECIFIED]}`);
