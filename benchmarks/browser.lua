-- The headers of a browser, and one of many sessions, each request another one. Arguments: `paced`, not as fast as it
-- goes; `host=NAME`; a file with Cookie headers, one a line, instead of the 1000 sessions of the sidecar's store.
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

local function cookies(path)
  local found = {}
  if path then
    for line in io.lines(path) do found[#found + 1] = line end
  else
    for number = 0, 999 do
      found[#found + 1] = string.format("theme=dark; JSESSIONID=session-%04d-0123456789abcdef; lang=en", number)
    end
  end
  return found
end

function init(args)
  local path
  for _, argument in ipairs(args) do
    if argument == "paced" then
      function delay() return 1 end -- ms before each request of a connection: the same rate for everybody
    elseif argument:sub(1, 5) == "host=" then
      base["Host"] = argument:sub(6)
    else
      path = argument
    end
  end
  for number, cookie in ipairs(cookies(path)) do
    base["Cookie"] = cookie
    requests[number] = wrk.format("GET", "/app/page?x=" .. number, base)
  end
end

function request()
  next_one = next_one % #requests + 1
  return requests[next_one]
end
