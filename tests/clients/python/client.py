"""Schedules a showtime, lists it, and schedules it again to read the refusal: by reflection, without generated code.

    client.py ADDRESS MOVIE_ID AUDITORIUM_ID START

prints the results as one JSON object.
"""

import json
import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status


class Service:
    """Calls the methods of a service whose descriptor it reads by reflection."""

    def __init__(self, channel, pool, name):
        self.channel = channel
        self.descriptor = pool.FindServiceByName(name)

    def call(self, method, request):
        method = self.descriptor.methods_by_name[method]
        request_class = message_factory.GetMessageClass(method.input_type)
        response_class = message_factory.GetMessageClass(method.output_type)
        stub = self.channel.unary_unary(
            f"/{self.descriptor.full_name}/{method.name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=response_class.FromString,
        )
        return stub(json_format.ParseDict(request, request_class()), timeout=20)


def main(address, movie_id, auditorium_id, start):
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        showtimes = Service(channel, pool, "boxoffice.v1.Showtimes")
        request = {
            "movie_id": movie_id,
            "auditorium_id": auditorium_id,
            "start_time": start,
            "duration": "7200s",
            "price": {"currency_code": "EUR", "units": 9, "nanos": 500_000_000},
        }
        created = showtimes.call("CreateShowtime", request).showtime
        listed = showtimes.call("ListShowtimes", {"auditorium_id": auditorium_id}).showtimes
        try:
            showtimes.call("CreateShowtime", request)
            refused = None
        except grpc.RpcError as error:
            refused = read_refusal(error)
    print(json.dumps({
        "created": created.showtime_id,
        "title": created.movie.title,
        "listed": [showtime.showtime_id for showtime in listed],
        "refused": refused,
    }))


def read_refusal(error):
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
            code = error.code().value[0]
            return {"code": code, "reason": info.reason, "domain": info.domain, "metadata": dict(info.metadata)}
    raise AssertionError(f"no ErrorInfo in {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
