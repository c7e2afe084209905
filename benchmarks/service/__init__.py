"""The service under load: `whisperlite serve` beside `transcribe_many`, and beside a plain service around a peer.

`clips` says what is sent, in the same order to all. `clients` sends it, `processes` runs the services and looks at
their memory, and `many` is the process of `transcribe_many`. `faster_whisper_service` is the peer, in its environment.
`report` concludes and writes the page. `schema` tests the service against its own OpenAPI document.
"""
