"""What is used of aiortc's insides is still there. That the tap hears is proved by the other tests' calls."""

from __future__ import annotations

import inspect

from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport


def test_the_transport_still_hands_packets_over_by_this_name() -> None:
    parameters = inspect.signature(RTCRtpReceiver._handle_rtp_packet).parameters
    assert list(parameters) == ["self", "packet", "arrival_time_ms"]
    assert "receiver._handle_rtp_packet(" in inspect.getsource(RTCDtlsTransport._handle_rtp_data)
