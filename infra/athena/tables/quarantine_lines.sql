-- Records that are no events, one line each.
-- Without partitions: what has no usable time belongs to no day.
CREATE EXTERNAL TABLE quarantine_lines (
  `line` string COMMENT 'One JSON object: the record as it came, and the reason why it is here'
)
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe'
WITH SERDEPROPERTIES ('serialization.format' = '1')
STORED AS TEXTFILE
LOCATION 's3://<BucketName>/quarantine/<KeyPrefix>';
