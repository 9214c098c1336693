"""Lists auditoriums, schedules a showtime, and reads why the same slot is refused a second time.

    python showtimes.py [ADDRESS]
"""

import sys
from datetime import datetime, timedelta, timezone

import grpc
from boxoffice.v1 import auditoriums_pb2, auditoriums_pb2_grpc, showtimes_pb2, showtimes_pb2_grpc
from google.rpc import error_details_pb2
from google.type import money_pb2
from grpc_status import rpc_status


def main(address):
    with grpc.insecure_channel(address) as channel:
        auditoriums = auditoriums_pb2_grpc.AuditoriumsStub(channel)
        showtimes = showtimes_pb2_grpc.ShowtimesStub(channel)

        screen = auditoriums.ListAuditoriums(auditoriums_pb2.ListAuditoriumsRequest(), timeout=5).auditoriums[0]
        print(f"{screen.cinema}, {screen.name}: {screen.seat_count} seats")

        request = showtimes_pb2.CreateShowtimeRequest(
            movie_id="tt1375666",
            auditorium_id=screen.auditorium_id,
            start_time=datetime.now(timezone.utc) + timedelta(days=30),
            duration=timedelta(minutes=148),
            price=money_pb2.Money(currency_code="EUR", units=12, nanos=500_000_000),
        )
        showtime = showtimes.CreateShowtime(request, timeout=5).showtime
        print(f"scheduled {showtime.movie.title} on {showtime.local_date}, {showtime.available_count} seats free")

        try:
            showtimes.CreateShowtime(request, timeout=5)
        except grpc.RpcError as error:
            print(f"refused: {reason(error)}")

        cancelled = showtimes.CancelShowtime(
            showtimes_pb2.CancelShowtimeRequest(showtime_id=showtime.showtime_id), timeout=5
        )
        print(f"now {showtimes_pb2.ShowtimeState.Name(cancelled.showtime.state)}")


def reason(error):
    """Every refusal names its reason in an ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    for detail in rpc_status.from_call(error).details:
        if detail.Unpack(info):
            return f"{info.reason} {dict(info.metadata)}"
    return error.details()


if __name__ == "__main__":
    main(*sys.argv[1:] or ["127.0.0.1:50051"])
