"""The page of `foreshock view`: what the outer topics say now, kept in fixed memory and pushed to browsers.

One thread reads topics (`reading`), the event loop alone keeps what they say (`state`), and each open page is sent
what changed since it was last told (`pushing`). What is older than the memory is read from the log (`past`), a
forecast with its receipt too (`receipt`); rebuilding and explaining run as processes of their own (`computing`).
"""
