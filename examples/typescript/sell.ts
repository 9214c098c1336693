// Lists showtimes, sells two of the best seats of the first, and reads why somebody else cannot have them. It runs in Node
// as it is, and in a page that the service lets in (--cors-origin).

import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import {
  Reservations,
  ReservationState,
  type Seat,
  SeatsUnavailableSchema,
} from "./generated/boxoffice/v1/reservations_pb.js";
import { Showtimes } from "./generated/boxoffice/v1/showtimes_pb.js";

const transport = createGrpcWebTransport({ baseUrl: "http://127.0.0.1:50051", defaultTimeoutMs: 5_000 });
const showtimes = createClient(Showtimes, transport);
const reservations = createClient(Reservations, transport);

const names = (seats: Seat[]) => seats.map((seat) => `${seat.row}${seat.number}`).join(" ");

const { showtimes: listed } = await showtimes.listShowtimes({});
for (const each of listed) {
  console.log(`${each.localDate} ${each.auditorium?.name}: ${each.movie?.title}, ${each.availableCount} seats free`);
}
const showtimeId = listed[0]?.showtimeId ?? "";

// With a request id of its own, each of these calls can be repeated without harm.
const hold = { showtimeId, seatCount: 2, customerId: "ada", requestId: crypto.randomUUID() };
const { reservation: held } = await reservations.reserveSeats(hold);
console.log(`held ${names(held?.seats ?? [])} for ${held?.timeLeft?.seconds} seconds`);

try {
  await reservations.reserveSeats({ showtimeId, seats: held?.seats ?? [], customerId: "bob" });
} catch (thrown) {
  const refusal = ConnectError.from(thrown);
  const [unavailable] = refusal.findDetails(SeatsUnavailableSchema);
  console.log(`refused: ${refusal.rawMessage}`);
  console.log(`on offer: ${unavailable?.offers.map((offer) => names(offer.seats)).join(", ")}`);
}

const sale = { reservationId: held?.reservationId ?? "", tender: { method: "cash" }, requestId: crypto.randomUUID() };
const { reservation: sold } = await reservations.confirmReservation(sale);
console.log(`now ${ReservationState[sold?.state ?? ReservationState.UNSPECIFIED]}`);
