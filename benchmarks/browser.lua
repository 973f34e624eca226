-- The headers of a browser, and one of 1000 sessions, each request another one. With `paced`, not as fast as it goes.
local base = {
  ["Host"] = "app.example.com",
  ["sec-ch-ua"] = '"Chromium";v="140", "Not=A?Brand";v="24"',
  ["sec-ch-ua-mobile"] = "?0",
  ["sec-ch-ua-platform"] = '"Linux"',
  ["Upgrade-Insecure-Requests"] = "1",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Sec-Fetch-Site"] = "same-origin",
  ["Sec-Fetch-Mode"] = "navigate",
  ["Sec-Fetch-User"] = "?1",
  ["Sec-Fetch-Dest"] = "document",
  ["Referer"] = "https://app.example.com/app/",
  ["Accept-Encoding"] = "gzip, deflate, br",
  ["Accept-Language"] = "en-US,en;q=0.9",
}
local requests, next_one = {}, 0

function init(args)
  if args[1] == "paced" then
    function delay() return 1 end -- ms before each request of a connection: the same rate for everybody
  end
  for number = 0, 999 do
    base["Cookie"] = string.format("theme=dark; JSESSIONID=session-%04d-0123456789abcdef; lang=en", number)
    requests[number] = wrk.format("GET", "/app/page?x=" .. number, base)
  end
end

function request()
  next_one = (next_one + 1) % 1000
  return requests[next_one]
end
