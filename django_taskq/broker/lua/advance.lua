#!lua flags=allow-oom
-- advance | keys: live ready scheduled retrying wake meta calls answers asks gated turns events | edges: scheduled->ready retrying->ready
--
-- Lets jobs run now that are not due yet, as if they were.
-- ARGV: now, token of the call, then the ids (at most 100)
-- Reply: a letter per job: O ready now, E it does not wait for a time
-- Sending the call again moves nothing twice and answers the same.

local now, token = clock(ARGV[1]), ARGV[2]
local given = redis.call('HGET', answers, token)
if given then return given end
local ids = { unpack(ARGV, 3) }
local lives = redis.call('HMGET', live, unpack(ids))
local resting = {}
for _, set in ipairs({ scheduled, retrying }) do
  resting[#resting + 1] = { set, redis.call('ZMSCORE', set, unpack(ids)) }
end

local letters, gone, places = {}, {}, {}
local asked = asks_of(ids)
local line = line_of(ready, gated, meta, turns, asked)
for i, id in ipairs(ids) do
  letters[i] = 'E'
  for _, rest in ipairs(resting) do
    if rest[2][i] then
      letters[i] = 'O'
      gone[rest[1]] = gone[rest[1]] or {}
      table.insert(gone[rest[1]], id)
      places[#places + 1] = line.place(read_live(lives[i]).priority, asked[id])
      places[#places + 1] = id
    end
  end
end
for set, list in pairs(gone) do redis.call('ZREM', set, unpack(list)) end
local answer = table.concat(letters)
if #places > 0 then
  line.done()
  note(ids)
  redis.call('ZADD', ready, unpack(places))
  set_wake(wake, ready)
  remember(calls, answers, token, now, answer)
end
return answer
