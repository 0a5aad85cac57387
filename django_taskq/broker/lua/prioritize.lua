#!lua flags=allow-oom
-- prioritize | keys: jobs live ready running scheduled retrying waiting | edges: none
--
-- Gives jobs another priority. A ready one keeps its turn among those of the new priority.
-- ARGV: priority (-100 to 100), then the ids (at most 100)
-- Reply: a letter per job: O it has that priority, E it has ended, U unknown
-- Sending the call again changes nothing more.

local priority = tonumber(ARGV[1])
local ids = { unpack(ARGV, 2) }
local known = redis.call('HMGET', jobs, unpack(ids))
local lives = redis.call('HMGET', live, unpack(ids))
local lines = redis.call('ZMSCORE', ready, unpack(ids))
local resting = {}
for _, set in ipairs({ running, scheduled, retrying, waiting }) do
  resting[#resting + 1] = redis.call('ZMSCORE', set, unpack(ids))
end

local letters, places, records = {}, {}, {}
for i, id in ipairs(ids) do
  local there = lines[i]
  for _, scores in ipairs(resting) do there = there or scores[i] end
  if not known[i] then
    letters[i] = 'U'
  elseif not there then
    letters[i] = 'E'
  else
    letters[i] = 'O'
    if lines[i] then
      local score = tonumber(lines[i])
      local old = -math.floor(score / PRIORITY + 0.5)
      places[#places + 1] = ready_score(priority, score + old * PRIORITY)
      places[#places + 1] = id
    end
    local l = read_live(lives[i])
    l.priority = priority
    records[#records + 1] = id
    records[#records + 1] = pack_live(l)
  end
end
send('HSET', live, records)
send('ZADD', ready, places)
return table.concat(letters)
