# Rack's cookie reader: a Cookie header in base64 on each line of the input, on each of the output what it found.
require "base64"
require "json"
require "rack"

$stdout.sync = true
while (line = $stdin.gets)
  env = { "HTTP_COOKIE" => Base64.decode64(line) }
  found = begin
    Rack::Request.new(env).cookies.map { |name, value| [Base64.strict_encode64(name.to_s), Base64.strict_encode64(value.to_s)] }
  rescue StandardError
    []
  end
  puts JSON.generate(found)
end
