#!lua flags=allow-oom
-- prioritize | keys: jobs live ready running scheduled retrying waiting asks gated events | edges: none
--
-- Gives jobs another priority. A ready one keeps its turn among those of the new priority, and so does
-- one that waits at a gate, which stands there under its place.
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

local letters, places, records, changed = {}, {}, {}, {}
local asked = asks_of(ids)
local waits = redis.call('ZMSCORE', waiting, unpack(ids))

-- The place at the new priority.
local function replaced(score)
  return score + (-math.floor(score / PRIORITY + 0.5) - priority) * PRIORITY
end

-- Under its gate a job stands by its place; one that is parked is at none.
local function move_at_gate(id, score)
  for _, gate in ipairs(asked[id] and asked[id].gates or {}) do
    if redis.call('ZREM', gated, gated_name(gate.name, score, id)) == 1 then
      redis.call('ZADD', gated, 0, gated_name(gate.name, replaced(score), id))
      redis.call('ZADD', waiting, replaced(score), id)
    end
  end
end

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
      places[#places + 1] = replaced(tonumber(lines[i]))
      places[#places + 1] = id
    end
    if waits[i] then move_at_gate(id, tonumber(waits[i])) end
    local l = read_live(lives[i])
    l.priority = priority
    records[#records + 1] = id
    changed[#changed + 1] = id
    records[#records + 1] = pack_live(l)
  end
end
send('HSET', live, records)
send('ZADD', ready, places)
note(changed)
return table.concat(letters)
