"""asyncio at full speed: tasks, queues and a socket, no task ever idle for long."""

import asyncio

import load
import mod
import probe


async def echo(reader, writer):
    while True:
        writer.write(await reader.readexactly(4))


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    queue = asyncio.Queue()
    probe.ready()
    while True:
        writer.write(b"ping")
        load.check(await reader.readexactly(4) == b"ping", "the echo was wrong")
        tasks = [asyncio.ensure_future(queue.put(mod.step(n))) for n in range(10)]
        load.check([await queue.get() for _ in range(10)] == list(range(1, 11)), "queue")
        await asyncio.gather(*tasks)
        load.done()


asyncio.new_event_loop().run_until_complete(main())
