-- One fixed POST; with a directory as argument, every answer's body is kept there.

wrk.method = "POST"
wrk.body = "{}"
wrk.headers["Content-Type"] = "application/json"

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  if args[1] then
    local answers = io.open(args[1] .. "/" .. number, "w")
    answers:setvbuf("line")
    response = function(status, headers, body)
      answers:write((body:gsub("%s+$", "")), "\n")
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('{"requests": %d, "microseconds": %d, "failed": %d}',
    summary.requests, summary.duration, failed))
end
