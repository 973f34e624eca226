-- Logout tokens from a file, one a line, each sent once, and again only when they run out.
local bodies, next_one = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", "/_sidecar/backchannel-logout",
      {["Host"] = "app.example.com", ["Content-Type"] = "application/x-www-form-urlencoded"}, "logout_token=" .. line)
  end
end

function request()
  next_one = next_one % #bodies + 1
  return bodies[next_one]
end

function done(summary, latency, requests)
  io.write(string.format("p99_ms=%.3f\n", latency:percentile(99.0) / 1000))
end
