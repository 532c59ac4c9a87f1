-- For wrk: a completion of one token.
wrk.method = "POST"
wrk.body = '{"prompt": "x", "max_tokens": 1}'
wrk.headers["content-type"] = "application/json"
