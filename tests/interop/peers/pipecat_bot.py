"""A bot of the Pipecat framework behind its own Twilio serializer and FastAPI transport: says back what it hears.

Prints the port it listens on, then, when the call is over, one line of JSON: what the framework made of the call. Nothing of it knows that the caller is no Twilio.
"""

import asyncio
import importlib.metadata
import json
import socket
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import InputAudioRawFrame, InputDTMFFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport

logger.remove()
logger.add(sys.stderr, level="WARNING")
app = FastAPI()
seen = {"version": importlib.metadata.version("pipecat-ai"), "frames": 0, "digits": "", "transport": None, "parameters": None}
server = None


class Echo(FrameProcessor):
    """Says what it hears."""

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            seen["frames"] += 1
            out = OutputAudioRawFrame(audio=frame.audio, sample_rate=frame.sample_rate, num_channels=frame.num_channels)
            await self.push_frame(out, direction)
        elif isinstance(frame, InputDTMFFrame):
            seen["digits"] += str(frame.button.value)
        else:
            await self.push_frame(frame, direction)


@app.websocket("/ws")
async def call(websocket: WebSocket):
    await websocket.accept()
    kind, data = await parse_telephony_websocket(websocket)
    seen["transport"] = kind
    seen["parameters"] = data.get("body") or data.get("custom_parameters")
    serializer = TwilioFrameSerializer(
        stream_sid=data["stream_id"],
        call_sid=data["call_id"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket=websocket,
        params=FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, add_wav_header=False, serializer=serializer),
    )
    pipeline = Pipeline([transport.input(), Echo(), transport.output()])
    task = PipelineTask(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        cancel_on_idle_timeout=False,
    )

    @transport.event_handler("on_client_disconnected")
    async def over(_transport, _client):
        await task.cancel()

    await PipelineRunner(handle_sigint=False).run(task)
    server.should_exit = True


async def main():
    global server
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws_ping_interval=None))
    await server.serve(sockets=[listener])
    print(json.dumps(seen), flush=True)


asyncio.run(main())
