#!lua flags=allow-oom
-- release | keys: live ready waiting parked wake meta calls answers asks gated turns events | edges: waiting->ready
--
-- Lets the parked jobs of one task back in line whose wait is over. Those that still wait stand
-- among them, so more names are looked at than jobs are moved.
-- ARGV: now, token of the call, task, most (at most 100)
-- Reply: how many
-- Sending the call again releases nothing more and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local before = redis.call('HGET', answers, token)
if before then return tonumber(before) end
local task, most = ARGV[3], tonumber(ARGV[4])
local PAGES = 10 -- of `most` names
local first, behind = '[' .. task .. ' ', '(' .. task .. '!'
local gone, done = {}, {}
for page = 0, PAGES - 1 do
  local names = redis.call('ZRANGE', parked, first, behind, 'BYLEX', 'LIMIT', page * most, most)
  if #names == 0 then break end
  local ids = {}
  for i, name in ipairs(names) do ids[i] = string.sub(name, #task + 2) end
  local waits = redis.call('ZMSCORE', waiting, unpack(ids))
  for i, id in ipairs(ids) do
    if not waits[i] then
      done[#done + 1] = names[i] -- it left in another way: it must not stand before the others
    elseif tonumber(waits[i]) <= now and #gone < most then
      gone[#gone + 1] = id
      done[#done + 1] = names[i]
    end
  end
  if #gone == most then break end
end
send('ZREM', parked, done)
if #gone == 0 then return 0 end

local lives = redis.call('HMGET', live, unpack(gone))
local asked = asks_of(gone)
local line = line_of(ready, gated, meta, turns, asked)
local places = {}
for i, id in ipairs(gone) do
  places[#places + 1] = line.place(read_live(lives[i]).priority, asked[id])
  places[#places + 1] = id
end
line.done()
redis.call('ZREM', waiting, unpack(gone))
note(gone)
redis.call('ZADD', ready, unpack(places))
set_wake(wake, ready)
remember(calls, answers, token, now, #gone)
return #gone
