#!lua flags=allow-oom
-- listen | keys: ready events listeners meta | edges: none
--
-- Reads on in the stream of changed jobs, for one reader at a time under a listener's name. The
-- first call registers the name, which stays until unlisten. `listeners`: name -> up to which entry
-- it has everything, its reader, until when that has the place (ms), whether it knows all jobs (1) or
-- has to look through them (0). The entry it stands at is kept, so a cut behind it shows.
-- ARGV: now, name, reader, ms for which it has the place, up to which entry it has everything ("":
--   as before), knows (1: it has looked through all jobs, which counts if it has had the place since,
--   0: it has to, "": as before), about how many ids to answer (at most 10000)
-- Reply: now, whose place it is (O the reader's; B another's), ms until that ends; of one's own place
--   also knows, whether entries were cut since the last call (1), entries that are not read yet, jobs
--   that can be run now, then per entry: its place, ids joined by spaces
-- Sending the call again answers the same, and what came since.

local now, name, reader = clock(ARGV[1]), ARGV[2], ARGV[3]
local lease, done, most = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[7])
local PAGE, PAGES = 50, 40 -- entries read at a time, and how often

-- Whether one entry's place is before another's.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)%-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)%-(%d+)$')
  if not a_ms or not b_ms then return not a_ms and b_ms ~= nil end
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_seq) < tonumber(b_seq)
end

local known = redis.call('HGET', listeners, name)
local at, owner, ends, knows
if known then at, owner, ends, knows = string.match(known, '^(%S+) (%S+) (%d+) (%d)$') end
local left = (tonumber(ends) or 0) - now
if at and owner ~= reader and left > 0 and left <= 600000 then return { now, 'B', left } end

local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
local cut = not at or not first or is_before(at, first[1])
if cut then
  if known then redis.call('HINCRBY', meta, 'cuts', 1) end
  at, knows = redis.call('XADD', events, '*', 'i', ''), '0'
else
  if is_before(at, done) then at = done end
  -- Whoever lost the place meanwhile has not heard of cuts that another was told of.
  if ARGV[6] == '0' or (ARGV[6] == '1' and owner == reader) then knows = ARGV[6] end
end
redis.call('HSET', listeners, name, string.format('%s %s %.0f %s', at, reader, now + lease, knows))

local slowest = at
for _, other in ipairs(redis.call('HRANDFIELD', listeners, 100, 'WITHVALUES')) do
  local place = string.match(other, '^(%d+%-%d+) %S+ %d+ %d$')
  if place and is_before(place, slowest) then slowest = place end
end
redis.call('XTRIM', events, 'MINID', slowest)

local reply = { now, 'O', lease, tonumber(knows), cut and 1 or 0, redis.call('XLEN', events) - 1,
                is_paused(meta, now) and 0 or redis.call('ZCARD', ready) }
local from, count = at, 0
for _ = 1, PAGES do
  local page = redis.call('XRANGE', events, '(' .. from, '+', 'COUNT', PAGE)
  for _, entry in ipairs(page) do
    local ids = entry[2][2] or ''
    reply[#reply + 1], reply[#reply + 2] = entry[1], ids
    from, count = entry[1], count + #ids / 20
  end
  if #page < PAGE or count >= most then break end
end
return reply
