// Schedules a showtime, lists it, and schedules it again to read the refusal: connect-web over grpc-web, with types read
// from the descriptor set.
//
//     client.js URL DESCRIPTORS MOVIE_ID AUDITORIUM_ID START
//
// prints the results as one JSON object.

import { readFileSync } from "node:fs";

import { createFileRegistry, fromBinary, fromJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const [url, descriptors, movieId, auditoriumId, start] = process.argv.slice(2);

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const showtimes = createClient(
  registry.getService("boxoffice.v1.Showtimes"),
  createGrpcWebTransport({ baseUrl: url, defaultTimeoutMs: 20_000 }),
);

const errorInfo = registry.getMessage("google.rpc.ErrorInfo");

async function refusal(call) {
  try {
    await call;
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    const [info] = error.findDetails(errorInfo);
    if (info === undefined) throw error;
    return { code: error.code, reason: info.reason, domain: info.domain, metadata: info.metadata };
  }
  return null;
}

const request = {
  movieId,
  auditoriumId,
  startTime: fromJson(TimestampSchema, start),
  duration: { seconds: 7200n },
  price: { currencyCode: "EUR", units: 9n, nanos: 500_000_000 },
};
const { showtime } = await showtimes.createShowtime(request);
const listed = await showtimes.listShowtimes({ auditoriumId });
console.log(
  JSON.stringify({
    created: showtime.showtimeId,
    title: showtime.movie.title,
    listed: listed.showtimes.map((each) => each.showtimeId),
    refused: await refusal(showtimes.createShowtime(request)),
  }),
);
