#!lua flags=allow-oom
-- promote | keys: live ready scheduled retrying waiting wake timer meta asks limits gated entered rates opens turns events | edges: scheduled->ready retrying->ready waiting->ready
--
-- Moves what is due, lets in who waits for a rate, and says when the next is due. One timekeeper per queue: it is asked again
-- before its time is over, or another takes its place 2 s later.
-- ARGV: now, keeper, force (1: take the place, because the head changed), most, grace ms
-- Reply: moved, ms until the next is due (-1: nothing is scheduled), ms until the keeper's place
--   is free (0: it is yours)

local now = clock(ARGV[1])
local keeper, most, grace = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local place = redis.call('HMGET', meta, 'keeper', 'keeper_until')
if ARGV[3] ~= '1' and place[1] and place[1] ~= keeper then
  local free_at = tonumber(place[2] or 0) or 0
  for _, set in ipairs({ scheduled, retrying, opens }) do -- it is late, whatever its time says
    local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    if head[2] then free_at = math.min(free_at, tonumber(head[2]) + grace) end
  end
  if free_at > now then return { 0, -1, free_at - now } end
end

local moved = 0
local next_due = -1
for _, set in ipairs({ scheduled, retrying }) do
  local ids = redis.call('ZRANGE', set, '-inf', now, 'BYSCORE', 'LIMIT', 0, most - moved)
  if #ids > 0 then
    local lives = redis.call('HMGET', live, unpack(ids))
    local asked = asks_of(ids)
    local line = line_of(ready, gated, meta, turns, asked)
    local places = {}
    for i, id in ipairs(ids) do
      places[#places + 1] = line.place(read_live(lives[i]).priority, asked[id])
      places[#places + 1] = id
    end
    line.done()
    redis.call('ZREM', set, unpack(ids))
    redis.call('ZADD', ready, unpack(places))
    moved = moved + #ids
    note(ids)
  end
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[2] then
    local wait = math.max(tonumber(head[2]) - now, 0)
    if next_due < 0 or wait < next_due then next_due = wait end
  end
  if moved >= most then
    next_due = 0
    break
  end
end
moved = moved + open_due(most - moved, now)
local opening = redis.call('ZRANGE', opens, 0, 0, 'WITHSCORES')[2]
if opening then
  local wait = math.max(tonumber(opening) - now, 0)
  if next_due < 0 or wait < next_due then next_due = wait end
end
if moved > 0 then set_wake(wake, ready) end
redis.call('HSET', meta, 'keeper', keeper, 'keeper_until', now + math.max(next_due, 0) + grace)
return { moved, next_due, 0 }
