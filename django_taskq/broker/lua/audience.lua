#!lua flags=allow-oom
-- audience | keys: events listeners meta | edges: none
--
-- Who listens to a queue, and how far each is behind.
-- ARGV: now
-- Reply: now, entries in the stream, times that entries were cut which somebody had not read, then per
--   listener (at most 100): its name, the time of the entry up to which it has everything (ms), its
--   reader, ms until that loses its place (0: it has), knows (1: it looked through all jobs once)

local now = clock(ARGV[1])
local reply = { now, redis.call('XLEN', events), tonumber(redis.call('HGET', meta, 'cuts') or 0) }
local all = redis.call('HRANDFIELD', listeners, 100, 'WITHVALUES')
for i = 1, #all, 2 do
  local at, reader, ends, knows = string.match(all[i + 1], '^(%d+)%-%d+ (%S+) (%d+) (%d)$')
  if at then
    local left = math.max(tonumber(ends) - now, 0)
    for _, fact in ipairs({ all[i], tonumber(at), reader, left, tonumber(knows) }) do
      reply[#reply + 1] = fact
    end
  end
end
return reply
